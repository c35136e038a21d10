//! A controller, ours or Cubic, with a window that opens for good when the connection is being closed, and a little in silence.
//!
//! quinn holds CONNECTION_CLOSE back like any packet while the congestion window is full, and in a closing connection
//! nothing is acknowledged that would make room: the peer would never be told. (Seen in quinn-proto 0.11.19: closing while
//! an MTU probe or bulk data was in flight; `poll_transmit` asks `ack_eliciting`, which pending data set, before `close`.)
//!
//! An acknowledgement is held back in the same way while data waits for a full window. Where both sides' windows are full of
//! packets that were lost neither tells the other, and each answers only the probes that it sends itself, at doubling intervals. So
//! once nothing was sent for a round trip a packet goes beyond the window, and takes the acknowledgement along.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;
use tokio::sync::watch;

use crate::congestion::OwnConfig;
use crate::quic::silence::{GRANT, Silence};

/// Less than a round trip that is worth waiting for.
const STALL_MIN: Duration = Duration::from_millis(10);
/// Larger than quinn's pacer heeds, small enough to be added to.
const OPEN: u64 = 1 << 40;

/// What a connection tells its controller: that it is about to be closed, by itself or with its whole endpoint, and what it
/// sends into silence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closing {
    own: Arc<AtomicBool>,
    endpoint: Arc<AtomicBool>,
    pub(crate) silence: Silence,
    paths: Paths,
}

/// How many controllers were made: quinn makes one for each path that a connection moves to, and tells nobody else.
#[derive(Clone, Debug)]
struct Paths(Arc<watch::Sender<u64>>);

impl Default for Paths {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Paths {
    fn another(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl Closing {
    /// For a new connection of the same endpoint.
    pub(crate) fn another(&self) -> Self {
        Self {
            own: Arc::default(),
            endpoint: self.endpoint.clone(),
            silence: Silence::default(),
            paths: Paths::default(),
        }
    }

    /// Sees every path that the connection moves to from now on.
    pub(crate) fn paths(&self) -> watch::Receiver<u64> {
        self.paths.0.subscribe()
    }

    /// On how many paths the connection has been so far, its first one included.
    pub(crate) fn paths_made(&self) -> u64 {
        *self.paths.0.borrow()
    }

    pub(crate) fn connection_closes(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    pub(crate) fn endpoint_closes(&self) {
        self.endpoint.store(true, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.own.load(Ordering::Relaxed) || self.endpoint.load(Ordering::Relaxed)
    }
}

/// Who decides how much may be in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Congestion {
    #[default]
    Own,
    Cubic,
}

impl Congestion {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "own" => Some(Self::Own),
            "cubic" => Some(Self::Cubic),
            _ => None,
        }
    }

    fn build(self, now: Instant, mtu: u16) -> Box<dyn Controller> {
        match self {
            Self::Own => Arc::new(OwnConfig).build(now, mtu),
            Self::Cubic => Arc::new(CubicConfig::default()).build(now, mtu),
        }
    }
}

pub(crate) struct Factory {
    pub(crate) closing: Closing,
    pub(crate) inner: Congestion,
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        self.closing.paths.another();
        self.closing.silence.forget_rtt();
        Box::new(self.controller(now, current_mtu))
    }
}

impl Factory {
    fn controller(&self, now: Instant, current_mtu: u16) -> Closable {
        Closable {
            inner: self.inner.build(now, current_mtu),
            closing: self.closing.clone(),
            in_flight: 0,
            mtu: current_mtu.into(),
            works: false,
            silent_at: None,
            restart: 0,
            sent_at: None,
            stall: STALL_MIN,
            sample: None,
        }
    }
}

struct Closable {
    inner: Box<dyn Controller>,
    closing: Closing,
    /// Bytes: exact when an acknowledgement was read; since then at most the packets too that are never acknowledged.
    in_flight: u64,
    mtu: u64,
    /// The acknowledgement that is being read is for something recent.
    works: bool,
    /// When the last acknowledgement was read before which there was silence.
    silent_at: Option<Instant>,
    /// What was lost in a silence tells of an outage, not of a queue: after it the window is not less than a new connection's
    /// (RFC 5681 4.1), up to the next loss.
    restart: u64,
    sent_at: Option<Instant>,
    /// Not less than a round trip.
    stall: Duration,
    /// The round trip of the newest packet in the acknowledgement that is being read.
    sample: Option<Duration>,
}

impl Closable {
    fn acknowledged(&mut self, now: Instant, sent: Instant, rtt: Duration) {
        let silence = &self.closing.silence;
        if silence.lasts(now) {
            self.silent_at = Some(now);
        }
        if silence.is_recent(now, sent) {
            self.works = true;
            silence.rtt(now, rtt);
        }
    }

    /// Nothing was sent for a round trip: whoever asks now may have something to acknowledge.
    fn stalls(&self, now: Instant) -> bool {
        self.sent_at
            .is_some_and(|sent| now.saturating_duration_since(sent) >= self.stall)
    }

    fn window_at(&self, now: Instant) -> u64 {
        let window = self.inner.window().max(self.restart);
        // quinn asks for room for one whole packet more, or two; a search for the MTU is in flight uncounted.
        let next = self.in_flight + 2 * self.mtu;
        match self.closing.silence.room() {
            0 if window <= next && self.stalls(now) => next + 1,
            0 => window,
            room => window.max(next + room),
        }
    }
}

impl Controller for Closable {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
        self.closing.silence.sent(now, bytes, self.in_flight == 0);
        self.sent_at = Some(now);
        self.in_flight += bytes;
        self.closing.silence.under_way(self.in_flight);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
        self.stall = rtt.get().max(STALL_MIN);
        self.acknowledged(now, sent, rtt.get());
        self.closing.silence.delivered(bytes);
        let age = now.saturating_duration_since(sent);
        self.sample = Some(self.sample.map_or(age, |sample| sample.min(age)));
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        self.in_flight = in_flight;
        self.closing.silence.under_way(in_flight);
        if let Some(sample) = self.sample.take() {
            self.closing.silence.sample(sample);
        }
        if std::mem::take(&mut self.works) || in_flight == 0 {
            self.closing.silence.progress(now, in_flight);
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        self.in_flight = self.in_flight.saturating_sub(lost_bytes);
        let in_silence = self.silent_at == Some(now); // quinn tells all of one packet's news with one `now`
        self.restart = if in_silence { GRANT } else { 0 };
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
        self.mtu = new_mtu.into();
    }

    fn window(&self) -> u64 {
        if self.closing.is_set() {
            return OPEN;
        }
        self.window_at(Instant::now())
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        self.closing.paths.another();
        Box::new(Self {
            inner: self.inner.clone_box(),
            closing: self.closing.clone(),
            in_flight: self.in_flight,
            mtu: self.mtu,
            works: false,
            silent_at: self.silent_at,
            restart: self.restart,
            sent_at: self.sent_at,
            sample: None,
            stall: self.stall,
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.inner.into_any()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_opens_with_either_flag_and_in_copies() {
        let base = Closing::default();
        let (a, b) = (base.another(), base.another());
        let build = |closing: &Closing| {
            let factory = Factory {
                closing: closing.clone(),
                inner: Congestion::Cubic,
            };
            Arc::new(factory).build(Instant::now(), 1200)
        };
        let (first, second) = (build(&a), build(&b).clone_box());
        a.connection_closes();
        assert_eq!(first.window(), OPEN);
        assert!(second.window() < OPEN);
        base.endpoint_closes();
        assert_eq!(second.window(), OPEN);
    }

    #[test]
    fn in_silence_a_datagram_goes_beyond_what_is_in_flight_until_something_is_acknowledged() {
        let closing = Closing::default();
        let factory = Factory {
            closing: closing.clone(),
            inner: Congestion::Cubic,
        };
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        let mut controller = Arc::new(factory).build(start, 1452);
        let window = controller.window();
        controller.on_sent(start, window, 1);
        closing.silence.datagram(later(500), 100);
        assert_eq!(controller.window(), window);
        closing.silence.datagram(later(1500), 100);
        let open = controller.window();
        assert!(open > window + 1452 && open < window + 3 * 1452 + 200);
        controller.on_sent(later(1500), 160, 2);
        assert!(controller.window() < open + 160);
        controller.on_sent(later(1500), 160, 3);
        assert_eq!(controller.window(), window);
        closing.silence.datagram(later(1600), 100);
        assert!(controller.window() > window);
        controller.on_end_acks(later(1700), 300, true, Some(1)); // of something old: not yet
        closing.silence.datagram(later(1710), 100);
        assert!(closing.silence.room() > 0);
        controller.on_end_acks(later(1720), 0, true, Some(3));
        assert_eq!(closing.silence.room(), 0);
    }

    #[test]
    fn a_full_window_lets_one_packet_through_when_nothing_was_sent_for_a_round_trip() {
        let factory = Factory {
            closing: Closing::default(),
            inner: Congestion::Cubic,
        };
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        let mut controller = factory.controller(start, 1200);
        controller.stall = Duration::from_millis(40);
        let window = controller.window_at(start);
        controller.on_sent(start, window, 1);
        assert_eq!(controller.window_at(later(39)), window);
        let open = controller.window_at(later(40));
        assert!(open > window + 2 * 1200 && open < window + 3 * 1200);
        controller.on_sent(later(40), 1200, 2);
        assert_eq!(controller.window_at(later(79)), window);
        assert!(controller.window_at(later(80)) > window + 1200);
    }

    #[test]
    fn a_loss_in_silence_leaves_the_window_of_a_new_connection_and_the_next_one_does_not() {
        let rtt = Duration::from_millis(50);
        let start = Instant::now();
        let later = |ms| start + Duration::from_millis(ms);
        for (waited_ms, expected) in [(900, 2400), (1100, GRANT)] {
            let factory = Factory {
                closing: Closing::default(),
                inner: Congestion::Cubic,
            };
            let mut controller = factory.controller(start, 1200);
            controller.on_sent(start, 9000, 6);
            controller.acknowledged(later(waited_ms), start, rtt);
            controller.on_end_acks(later(waited_ms), 7800, false, Some(0));
            controller.on_congestion_event(later(waited_ms), start, true, 1200);
            assert_eq!(controller.window(), expected);
            let (sent, next) = (later(waited_ms + 10), later(waited_ms + 60));
            controller.on_sent(sent, 1200, 7);
            controller.acknowledged(next, sent, rtt);
            controller.on_end_acks(next, 6600, false, Some(7));
            let last = later(waited_ms + 200);
            controller.acknowledged(last, next, rtt);
            controller.on_end_acks(last, 1200, false, Some(7));
            controller.on_congestion_event(last, next, false, 1200);
            assert!(controller.window() < GRANT);
        }
    }
}
