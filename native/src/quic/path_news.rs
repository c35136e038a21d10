//! How a connection's path does, for those who go by it: looked at while datagrams of flows come and go, told when it is news.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until};

use crate::quic::flow::Flows;
use crate::quic::silence::Silence;
use crate::runtime::lock;

/// Between looks.
const LOOK: Duration = Duration::from_millis(250);
/// Without a packet for so long nobody looks any more, until a datagram of a flow comes or goes.
const IDLE: Duration = Duration::from_secs(2);
const LOSS_WINDOW: Duration = Duration::from_secs(5);
/// Part of the old value by which one must have changed: a tenth.
const WORTH_TELLING: u64 = 10;
/// A round-trip time must have changed by so many microseconds: nothing that is done with it is finer, and each news wakes somebody.
const RTT_WORTH: u64 = 2_000;
const MILLION: u64 = 1_000_000;

/// Round-trip time in microseconds, lost packets of a million, congestion window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) rtt: u64,
    pub(crate) loss_ppm: u64,
    pub(crate) window: u64,
}

impl News {
    fn differs(self, old: Self) -> bool {
        let by_much = |old: u64, new: u64| WORTH_TELLING * old.abs_diff(new) > old;
        let rtt = self.rtt.abs_diff(old.rtt);
        (rtt > RTT_WORTH && by_much(old.rtt, self.rtt))
            || by_much(old.loss_ppm, self.loss_ppm)
            || by_much(old.window, self.window)
    }
}

/// The engine's counters.
struct Counters {
    rtt: u64,
    sent: u64,
    lost: u64,
    received: u64,
    window: u64,
}

/// Of one connection.
#[derive(Default)]
pub(crate) struct PathNews(Mutex<State>);

#[derive(Default)]
struct State {
    /// Who waits. One that came before has been forgotten.
    turn: u64,
    watch: Watch,
    looked_at: Option<Instant>,
    moved_at: Option<Instant>,
}

impl PathNews {
    /// From now on news go to the caller; `first`: the next look is one.
    pub(crate) fn begin(&self, first: bool) -> u64 {
        let mut state = lock(&self.0);
        state.turn += 1;
        if first {
            state.watch = Watch::default();
            state.looked_at = None;
        }
        state.turn
    }

    /// The next news; none if somebody else waits by then.
    pub(crate) async fn next(
        &self,
        turn: u64,
        connection: &quinn::Connection,
        silence: &Silence,
        flows: &Flows,
    ) -> Option<News> {
        let looked_at = lock(&self.0).looked_at;
        if let Some(before) = looked_at {
            sleep_until((before + LOOK).into()).await;
        }
        loop {
            let now = Instant::now();
            let counters = read(connection, silence);
            let idle = {
                let mut state = lock(&self.0);
                if state.turn != turn {
                    return None;
                }
                state.looked_at = Some(now);
                if state.watch.has_moved(&counters) {
                    state.moved_at = Some(now);
                    let news = state.watch.look(now, &counters);
                    if news.is_some() {
                        return news;
                    }
                }
                state
                    .moved_at
                    .is_some_and(|at| now.saturating_duration_since(at) >= IDLE)
            };
            if idle {
                flows.activity().await;
            }
            sleep(LOOK).await;
        }
    }
}

fn read(connection: &quinn::Connection, silence: &Silence) -> Counters {
    let stats = connection.stats();
    let rtt = u64::try_from(stats.path.rtt.as_micros()).unwrap_or(u64::MAX);
    Counters {
        rtt: silence.calm(rtt),
        sent: stats.path.sent_packets,
        lost: stats.path.lost_packets,
        received: stats.udp_rx.datagrams,
        window: stats.path.cwnd,
    }
}

#[derive(Default)]
struct Watch {
    /// When, packets sent, packets lost.
    samples: VecDeque<(Instant, u64, u64)>,
    packets: Option<u64>,
    told: Option<News>,
}

impl Watch {
    fn has_moved(&mut self, counters: &Counters) -> bool {
        let packets = Some(counters.sent + counters.received);
        std::mem::replace(&mut self.packets, packets) != packets
    }

    /// What is worth telling.
    fn look(&mut self, now: Instant, counters: &Counters) -> Option<News> {
        let news = News {
            rtt: counters.rtt,
            loss_ppm: self.loss_ppm(now, counters.sent, counters.lost),
            window: counters.window,
        };
        if self.told.is_some_and(|told| !news.differs(told)) {
            return None;
        }
        self.told = Some(news);
        self.told
    }

    fn loss_ppm(&mut self, now: Instant, sent: u64, lost: u64) -> u64 {
        self.samples.push_back((now, sent, lost));
        let is_old = |at: Instant| now.saturating_duration_since(at) >= LOSS_WINDOW;
        while self.samples.get(1).is_some_and(|&(at, ..)| is_old(at)) {
            self.samples.pop_front();
        }
        let (sent_before, lost_before) = self.samples.front().map_or((sent, lost), |s| (s.1, s.2));
        let share = lost.saturating_sub(lost_before) * MILLION;
        // Packets of before may be found lost only now.
        share
            .checked_div(sent.saturating_sub(sent_before))
            .map_or(0, |share| share.min(MILLION))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Looks {
        watch: Watch,
        began: Instant,
    }

    impl Looks {
        fn new() -> Self {
            let (watch, began) = (Watch::default(), Instant::now());
            Self { watch, began }
        }

        fn look(
            &mut self,
            seconds: u64,
            sent: u64,
            lost: u64,
            rtt: u64,
            window: u64,
        ) -> Option<News> {
            let counters = Counters {
                rtt,
                sent,
                lost,
                received: 0,
                window,
            };
            let now = self.began + Duration::from_secs(seconds);
            self.watch.look(now, &counters)
        }
    }

    fn news(rtt: u64, loss_ppm: u64, window: u64) -> Option<News> {
        Some(News {
            rtt,
            loss_ppm,
            window,
        })
    }

    #[test]
    fn the_first_look_is_told_and_then_only_changes() {
        let mut looks = Looks::new();
        assert_eq!(
            looks.look(0, 10, 0, 20_000, 10_000),
            news(20_000, 0, 10_000)
        );
        assert_eq!(looks.look(1, 20, 0, 22_000, 11_000), None);
        assert_eq!(
            looks.look(2, 30, 0, 22_001, 10_000),
            news(22_001, 0, 10_000)
        );
        assert_eq!(looks.look(3, 31, 0, 20_000, 8_999), news(20_000, 0, 8_999));
        assert_eq!(looks.look(4, 32, 0, 21_999, 8_999), None);
    }

    #[test]
    fn nothing_has_moved_while_no_packet_has() {
        let mut watch = Watch::default();
        let mut counters = Counters {
            rtt: 1,
            sent: 1,
            lost: 0,
            received: 0,
            window: 1,
        };
        assert!(watch.has_moved(&counters));
        counters.rtt = 90_000;
        assert!(!watch.has_moved(&counters));
        counters.received = 1;
        assert!(watch.has_moved(&counters));
    }

    #[test]
    fn a_short_path_is_not_told_for_a_jitter_that_nobody_heeds() {
        let mut looks = Looks::new();
        looks.look(0, 10, 0, 500, 10_000);
        assert_eq!(looks.look(1, 20, 0, 2_500, 10_000), None);
        assert_eq!(looks.look(2, 30, 0, 2_501, 10_000), news(2_501, 0, 10_000));
    }

    #[test]
    fn loss_is_that_of_the_last_five_seconds() {
        let mut looks = Looks::new();
        looks.look(0, 1000, 500, 20_000, 10_000);
        for (seconds, sent, lost, loss_ppm) in [
            (1, 1100, 510, 100_000),
            (4, 1200, 510, 50_000),
            (6, 1300, 510, 0),
        ] {
            let found = looks.look(seconds, sent, lost, 20_000, 10_000);
            assert_eq!(found, news(20_000, loss_ppm, 10_000));
        }
    }

    #[test]
    fn loss_found_late_is_no_more_than_all_and_counters_that_fall_are_none() {
        let mut looks = Looks::new();
        looks.look(0, 100, 0, 20_000, 10_000);
        assert_eq!(
            looks.look(1, 101, 50, 20_000, 10_000),
            news(20_000, MILLION, 10_000)
        );
        let mut looks = Looks::new();
        looks.look(0, 100, 50, 20_000, 10_000);
        assert_eq!(
            looks.look(1, 110, 40, 90_000, 10_000),
            news(90_000, 0, 10_000)
        );
        assert_eq!(
            looks.look(2, 90, 60, 20_000, 10_000),
            news(20_000, 0, 10_000)
        );
    }

    #[test]
    fn who_begins_anew_is_told_at_once_and_alone() {
        let path = PathNews::default();
        let before = path.begin(true);
        lock(&path.0).watch.told = news(1, 2, 3);
        assert_ne!(path.begin(false), before);
        assert!(lock(&path.0).watch.told.is_some());
        path.begin(true);
        assert!(lock(&path.0).watch.told.is_none());
    }
}
