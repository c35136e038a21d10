//! The controller. Rates are bytes/s, windows bytes, queues and round trips s.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};

use super::dip::Dip;
use super::losses::Losses;
use super::minimum::Minimum;
use super::police::Police;
use super::rival::Rival;
use super::rounds::{Round, Rounds};
use super::start::{Room, Start};
use super::still::Still;

/// What a connection starts with: 32 packets, paced over the round trip. With 10 the grid's links were used 2 % less.
const INITIAL_WINDOW: f64 = 32.0 * 1200.0;
/// The window in packets is never less.
const LEAST_PACKETS: f64 = 4.0;
/// How long the shortest round trip is believed: as long as a rival may hide it, and a longer route is not noticed.
const BASE_SPAN: Duration = Duration::from_secs(30);
/// No path is taken to be shorter: below that, who runs when on either host tells in round trips, not a queue.
const BASE_MIN: Duration = Duration::from_millis(4);
/// Round trips of less than this time are looked at together.
const RECENT_MIN: Duration = Duration::from_millis(1);
/// The queue that we want at 10 Mbit/s, s; it falls with the root of the rate, so that flows of unequal rates become equal.
const QUEUE_S: f64 = 0.004;
const QUEUE_RATE: f64 = 1.25e6;
/// Packets that the queue holds besides, since quinn sends ten at once.
const QUEUE_PACKETS: f64 = 5.0;
/// A start ends with a queue of an eighth of the round trip, between these (as HyStart's).
const START_QUEUE_SHARE: f64 = 0.125;
const START_QUEUE_S: (f64, f64) = (0.004, 0.016);
/// In a window of so few packets it takes so many acknowledgements in a row to tell of a queue: a single one is late when a packet
/// before it was lost or a host was busy.
const FEW_PACKETS: f64 = 100.0;
const LATE_ACKS: u32 = 3;
/// Rounds after a start in which the queue that it left drains: round trips tell of the past.
const SETTLE_ROUNDS: u32 = 2;
/// What part of the way to the wanted window is gone in a round.
const GAIN: f64 = 0.5;
/// While there is hardly a queue the growth doubles each round, to this share of the window.
const SPEED_MAX: f64 = 64.0;
const GROWTH_MAX: f64 = 0.125;
/// Beyond what the best rate fills the window grows by this factor and two wanted queues.
const ABOVE_RATE: f64 = 1.05;
/// Under more losses than usual the window does not fall below this part of what the best rate fills.
const CEILING_MIN: f64 = 0.9;
/// What a ceiling that losses have set grows by in a round.
const CEILING_GROWTH: f64 = 1.01;
/// More than so many wanted queues and this time are somebody else's.
const CROWD_QUEUES: f64 = 2.0;
const CROWD_S: f64 = 0.001;
/// Rounds in a row that this takes to be believed: our own are gone by then.
const CROWD_ROUNDS: u32 = 6;
/// What is left each round of the best rate that we had alone.
const BEST_FORGET: f64 = 0.998;
/// Parts of the path's product that are in flight in a dip, and in a look for a rival.
const DIP: f64 = 0.6;
const LOOK: f64 = 0.5;
/// A connection joins full queues as a late-comer so many times: each costs all who share it some losses.
const LATE_MAX: u32 = 3;

/// Makes controllers.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnConfig;

impl ControllerFactory for OwnConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Own::new(now, current_mtu))
    }
}

#[derive(Clone, Debug)]
enum Phase {
    Start(Start),
    /// So many rounds until what a start has queued is gone.
    Settle(u32),
    Cruise,
}

#[derive(Clone, Debug)]
struct Own {
    mtu: f64,
    window: f64,
    phase: Phase,
    base: Minimum,
    recent: Minimum,
    rounds: Rounds,
    losses: Losses,
    /// The acknowledgement that is being read: its bytes, and when the newest of them was sent.
    batch: u64,
    batch_sent: Option<Instant>,
    speed: f64,
    /// What the window was at the end of the last two rounds: round trips that are seen now began then.
    earlier: (f64, f64),
    /// Not more than this, since more was lost.
    ceiling: f64,
    crowded: u32,
    /// Window and best rate before it became crowded.
    roomy: f64,
    best: f64,
    /// The base when the start ended; a lower one later tells that the queue was full then.
    start_base: f64,
    dip: Dip,
    rival: Option<Rival>,
    late: u32,
    still: Still,
    police: Police,
    room: Room,
    /// Acknowledgements in a row that told of a queue in a start.
    late_acks: u32,
    /// Window and ceiling before a start that may be in vain.
    before: (f64, f64),
}

/// The queue that a flow of this rate wants.
fn wanted_queue(rate: f64, mtu: f64) -> f64 {
    let rate = rate.max(1e4);
    QUEUE_S * (QUEUE_RATE / rate).sqrt() + QUEUE_PACKETS * mtu / rate
}

impl Own {
    fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: mtu.into(),
            window: INITIAL_WINDOW,
            phase: Phase::Start(Start::default()),
            base: Minimum::default(),
            recent: Minimum::default(),
            rounds: Rounds::new(now),
            losses: Losses::default(),
            batch: 0,
            batch_sent: None,
            speed: 1.0,
            earlier: (0.0, 0.0),
            ceiling: f64::INFINITY,
            crowded: 0,
            roomy: 0.0,
            best: 0.0,
            start_base: 0.0,
            dip: Dip::new(now),
            rival: None,
            late: 0,
            still: Still::default(),
            police: Police::default(),
            room: Room::default(),
            late_acks: 0,
            before: (0.0, 0.0),
        }
    }

    fn wanted_queue(&self, rate: f64) -> f64 {
        wanted_queue(rate, self.mtu)
    }

    fn least(&self) -> f64 {
        LEAST_PACKETS * self.mtu
    }

    fn base(&self) -> Option<Duration> {
        Some(self.base.get()?.max(BASE_MIN))
    }

    fn base_s(&self) -> f64 {
        self.base().map_or(0.1, |d| d.as_secs_f64())
    }

    fn queue(&self) -> f64 {
        match (self.base(), self.recent.get()) {
            (Some(base), Some(recent)) => recent.saturating_sub(base).as_secs_f64(),
            _ => 0.0,
        }
    }

    /// What this rate keeps in flight without a queue, packets that are lost on the way included.
    fn product(&self, rate: f64) -> f64 {
        rate * self.base_s() / (1.0 - self.losses.usual)
    }

    fn effective(&self) -> f64 {
        if let Some(window) = self.dip.window() {
            return window;
        }
        let held = self.police.window().unwrap_or(f64::INFINITY);
        let window = self.window.min(self.ceiling);
        let window = window.min(held.max(self.least()));
        match &self.rival {
            Some(rival) => rival.window().max(window),
            None => window,
        }
    }

    fn start(&mut self, bytes: f64) {
        self.window += bytes;
        let base = self.base_s();
        let (low, high) = START_QUEUE_S;
        let allowed = (base * START_QUEUE_SHARE).clamp(low, high);
        let late = self.queue() > allowed.max(self.wanted_queue(self.window / 2.0 / base));
        self.late_acks = if late { self.late_acks + 1 } else { 0 };
        let few = self.window < FEW_PACKETS * self.mtu;
        if self.late_acks >= if few { LATE_ACKS } else { 1 } {
            self.end_start();
        }
    }

    fn end_start(&mut self) {
        let base = self.base_s();
        let rate = self.rounds.rate().max(self.rounds.short_rate(base));
        let product = self.product(rate) + rate * self.wanted_queue(rate);
        self.window = product.min(self.window).max(self.least());
        self.phase = Phase::Settle(SETTLE_ROUNDS);
        self.earlier = (self.window, self.window);
        self.start_base = base;
        self.speed = 1.0;
    }

    /// Moves the window towards the one with the wanted queue, as FAST does.
    fn cruise(&mut self, bytes: f64) {
        let (base, queue) = (self.base_s(), self.queue());
        let rate = self.window / (base + queue);
        let allowed = self.wanted_queue(rate);
        let more = rate * allowed;
        let more = (self.speed * more).min(self.window * GROWTH_MAX).max(more);
        let step = (bytes / self.window).min(1.0) * GAIN;
        let without_queue = base / (base + queue);
        if queue <= allowed {
            let wanted = self.window * without_queue + more;
            self.window += step * (wanted - self.window).max(0.0);
        } else if matches!(self.phase, Phase::Cruise) {
            let then = (self.earlier.0 + self.earlier.1) / 2.0;
            let wanted = then * without_queue + more;
            self.window -= step * (self.window - wanted).max(0.0);
        }
        let best = self.rounds.rate() / (1.0 - self.losses.usual);
        if best > 0.0 {
            let queues = 2.0 * self.wanted_queue(best) * best;
            let most = ABOVE_RATE * best * base + queues + self.least();
            self.window -= step * (self.window - most).max(0.0);
        }
        self.window = self.window.max(self.least());
    }

    fn round(&mut self, now: Instant, round: Round) {
        if round.starved {
            self.crowded = 0;
            return;
        }
        let last_rate = self.rounds.last_rate();
        match &mut self.phase {
            Phase::Start(start) => {
                let packets = (round.delivered + round.lost) as f64 / self.mtu;
                let (lost, usual) = (round.lost_share(), self.losses.usual);
                if let Some(end) = start.round(last_rate, lost, usual, packets) {
                    let vain = start.is_vain();
                    self.room.ended(end);
                    self.end_start();
                    if vain {
                        (self.window, self.ceiling) = self.before;
                        self.phase = Phase::Cruise;
                    }
                }
                return;
            }
            Phase::Settle(rounds) => {
                *rounds -= 1;
                if *rounds == 0 {
                    self.phase = Phase::Cruise;
                }
                let rate = round.sent_rate();
                let filled = rate * (self.base_s() + self.wanted_queue(rate));
                self.window = self.window.max(filled);
            }
            Phase::Cruise => {}
        }
        self.earlier = (self.earlier.1, self.effective());
        let base = self.base().unwrap_or_default();
        let queue = round.shortest.saturating_sub(base).as_secs_f64();
        let rate = self.rounds.rate();
        self.speed = if queue < 0.5 * self.wanted_queue(rate) {
            (self.speed * 2.0).min(SPEED_MAX)
        } else {
            1.0
        };
        self.ceiling *= CEILING_GROWTH;
        let queued = queue > 0.5 * self.wanted_queue(rate);
        if self.rival.is_none() {
            self.police.round(now, &round, base.as_secs_f64(), queued);
        }
        if self.is_longer(now, &round, queue) {
            return;
        }
        self.share(now, queue);
        self.climb(last_rate, round.lost_share(), queued);
    }

    /// Whether the path has become longer; then that is its round trip, and we start again from where we are.
    fn is_longer(&mut self, now: Instant, round: &Round, queue: f64) -> bool {
        let usual = self.wanted_queue(self.rounds.rate().max(self.best));
        if queue <= CROWD_QUEUES * usual + CROWD_S {
            self.still.clear();
            return false;
        }
        let trip = round.shortest.as_secs_f64();
        if !self.still.round(self.earlier.0, trip, queue) {
            return false;
        }
        self.still.clear();
        self.base = Minimum::default();
        self.base.add(now, round.shortest, BASE_SPAN);
        self.start_base = trip;
        self.crowded = 0;
        self.ceiling = f64::INFINITY;
        self.dip.stop();
        if let Some(rival) = self.rival.take() {
            self.window = self.window.max(rival.window());
        }
        self.phase = Phase::Start(Start::default());
        true
    }

    /// Whether the queue is ours, and what follows.
    fn share(&mut self, now: Instant, queue: f64) {
        let last_rate = self.rounds.last_rate();
        // A small share of a fast link must not be taken for a slow link, whose queue may be longer.
        let usual = self.wanted_queue(self.rounds.rate().max(self.best));
        let crowd = queue > CROWD_QUEUES * usual + CROWD_S;
        let foreign = self.dip.round(now, queue);
        let base = self.base_s();
        if let Some(rival) = &mut self.rival {
            if rival.gone(crowd, queue, last_rate, self.best) {
                let product = self.rounds.rate() * base;
                self.window = self.window.max(rival.window().min(product));
                self.rival = None;
                self.crowded = 0;
                self.dip.stop();
            } else if self.dip.window().is_none() && rival.look(now) {
                let window = (LOOK * last_rate * base).max(self.least());
                self.dip.look(window);
            }
            return;
        }
        if !crowd && self.crowded == 0 {
            self.roomy = self.window;
            self.best = last_rate.max(self.best * BEST_FORGET);
        }
        self.crowded = if crowd { self.crowded + 1 } else { 0 };
        if foreign || self.crowded >= CROWD_ROUNDS {
            let late = foreign || self.start_base - base > 0.5 * usual;
            let late = late && self.late < LATE_MAX;
            self.late += u32::from(late);
            let window = self.roomy.max(self.window);
            self.rival = Some(Rival::new(now, window, self.mtu, late));
        } else if self.dip.is_due(now, self.base.age(now)) {
            let window = (DIP * last_rate * base).max(self.least());
            self.dip
                .begin(window, queue, self.wanted_queue(self.rounds.rate()));
        }
    }

    /// Starts again where the start seems to have ended before the path was full.
    fn climb(&mut self, rate: f64, lost: f64, queued: bool) {
        let held = self.rival.is_some() || self.police.window().is_some() || self.dip.is_watched();
        if held || !matches!(self.phase, Phase::Cruise) {
            self.room.clear();
        } else if let Some(start) = self.room.round(rate, lost, queued) {
            self.phase = Phase::Start(start);
            self.before = (self.window, self.ceiling);
            self.ceiling = f64::INFINITY;
        }
    }

    fn heed_losses(&mut self, excess: f64) {
        if matches!(self.phase, Phase::Cruise) {
            // Without the usual losses: those of a policer must not become usual.
            let product = self.rounds.rate() * self.base_s();
            let ceiling = self.effective() * (1.0 - excess);
            self.ceiling = ceiling.max(CEILING_MIN * product).max(self.least());
        }
    }

    /// An outage, or another path: all that was learned is old.
    fn begin_again(&mut self, now: Instant) {
        *self = Self {
            window: self.least(),
            rounds: Rounds::new(now),
            losses: self.losses.clone(),
            ..Self::new(now, self.mtu as u16)
        };
    }
}

impl Controller for Own {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.batch += bytes;
        self.batch_sent = self.batch_sent.max(Some(sent));
        if let Some(rival) = &mut self.rival {
            rival.acknowledged(now, sent, bytes, app_limited, rtt);
        }
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        let batch = std::mem::take(&mut self.batch);
        let Some(sent) = self.batch_sent.take() else {
            return;
        };
        let bytes = batch as f64;
        self.dip.in_flight(now, in_flight as f64);
        let trip = now.saturating_duration_since(sent);
        self.base.add(now, trip, BASE_SPAN);
        let span = self.base.get().unwrap_or_default() / 2;
        self.recent.add(now, trip, span.max(RECENT_MIN));
        if let Some(excess) = self.losses.delivered(bytes, self.window, self.mtu) {
            self.heed_losses(excess);
        }
        if !app_limited {
            match self.phase {
                Phase::Start(ref start) => self.start(start.pace() * bytes),
                Phase::Settle(_) | Phase::Cruise => self.cruise(bytes),
            }
        }
        if let Some(round) = self.rounds.acknowledged(now, sent, batch, app_limited) {
            self.round(now, round);
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        if is_persistent_congestion {
            return self.begin_again(now);
        }
        self.rounds.lost(lost_bytes);
        self.losses.lost(lost_bytes as f64);
        if let Some(rival) = &mut self.rival {
            rival.lost(now, sent, false, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.window = self.window.max(self.least());
        if let Some(rival) = &mut self.rival {
            rival.mtu(new_mtu);
        }
    }

    fn window(&self) -> u64 {
        self.effective() as u64
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW as u64
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faster_flow_wants_a_shorter_queue_with_more_in_it() {
        let (slow, fast) = (wanted_queue(1e5, 1200.0), wanted_queue(1e7, 1200.0));
        assert!(fast < slow && fast * 1e7 > slow * 1e5);
    }

    #[test]
    fn losses_beyond_an_outage_leave_the_least_window_and_a_new_start() {
        let now = Instant::now();
        let mut own = Own::new(now, 1200);
        own.on_congestion_event(now, now, false, 2400);
        assert_eq!(own.window(), INITIAL_WINDOW as u64);
        own.on_congestion_event(now, now, true, 2400);
        assert_eq!(own.window(), 4 * 1200);
        assert!(matches!(own.phase, Phase::Start(_)));
    }

    #[test]
    fn a_sender_with_little_to_send_keeps_its_window() {
        let start = Instant::now();
        let mut own = Own::new(start, 1200);
        for step in 1..1000 {
            let now = start + Duration::from_millis(step * 20);
            own.batch = 100;
            own.batch_sent = Some(now - Duration::from_millis(15));
            own.on_end_acks(now, 0, true, None);
        }
        assert_eq!(own.window(), INITIAL_WINDOW as u64);
    }

    /// Whatever a receiver makes of its acknowledgements: everything at once, backwards in time, never, after a lot of losses.
    #[test]
    fn no_acknowledgements_make_a_window_that_is_none() {
        for seed in 0..200u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let start = Instant::now();
            let mut own = Own::new(start, 1200);
            let mut now = start;
            for _ in 0..2000 {
                now += Duration::from_nanos(10u64.pow(next(11) as u32) - 1);
                let age = Duration::from_nanos(10u64.pow(next(12) as u32));
                let sent = (now.checked_sub(age).unwrap_or(now)).max(start);
                match next(12) {
                    0 => own.on_congestion_event(now, sent, next(40) == 0, next(1 << 24)),
                    1 => own.on_mtu_update((1200 + next(64_000)) as u16),
                    2 => own.on_end_acks(now, next(1 << 30), false, None),
                    _ => {
                        own.batch = 10u64.pow(next(12) as u32);
                        own.batch_sent = Some(if next(9) == 0 { now + age } else { sent });
                        own.on_end_acks(now, next(1 << 30), next(3) == 0, None);
                    }
                }
                assert!(own.window.is_finite() && own.window >= 4.0 * 1200.0);
                assert!(own.effective().is_finite());
                assert!(
                    own.window() >= 1200 && own.window() < 1 << 50,
                    "{}",
                    own.window()
                );
            }
        }
    }

    #[test]
    fn hosts_that_take_milliseconds_to_run_the_ends_are_not_a_queue() {
        let start = Instant::now();
        let mut own = Own::new(start, 1200);
        let trips = std::iter::repeat_n(50, 100).chain(std::iter::repeat_n(3000, 1000));
        for (step, trip) in (0..).zip(trips) {
            let now = start + Duration::from_micros(300 * step);
            own.batch = 30_000;
            own.batch_sent = Some(now - Duration::from_micros(trip));
            own.on_end_acks(now, 100_000, false, None);
        }
        assert!(own.rival.is_none());
        assert!(own.effective() > 300_000.0, "{}", own.effective());
    }
}
