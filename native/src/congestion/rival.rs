//! Sharing with flows that fill queues: as they do, while they are there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, Cubic, CubicConfig};

/// How much of the window Cubic takes away at a loss.
const CUBIC_CUT: f64 = 0.7;
/// Between two looks at whether the queue is our own by now.
const LOOK: Duration = Duration::from_secs(15);
/// A queue of less than this share of its depth is empty for flows that fill it.
const EMPTY: f64 = 0.25;
/// What is left each round of the deepest queue that was seen.
const FORGET: f64 = 0.98;
/// Of the rate that we had alone: who gets this is alone.
const ALONE: f64 = 0.9;
/// Rounds in a row that this takes to be believed.
const ALONE_ROUNDS: u32 = 3;

/// Somebody else fills the queue.
#[derive(Clone, Debug)]
pub(super) struct Rival {
    cubic: Cubic,
    looked: Instant,
    /// Deepest queue of late, s.
    deepest: f64,
    alone: u32,
}

impl Rival {
    /// We had `window` bytes before. Who came `late`, to a queue that was full already, never had a share: such a flow starts as
    /// Cubic does.
    pub(super) fn new(now: Instant, window: f64, mtu: f64, late: bool) -> Self {
        let mut config = CubicConfig::default();
        let initial = if late { window } else { window / CUBIC_CUT };
        config.initial_window(initial as u64);
        let mut cubic = Cubic::new(Arc::new(config), now, mtu as u16);
        if !late {
            cubic.on_congestion_event(now, now, false, 1); // the only way to end its start
        }
        Self {
            cubic,
            looked: now,
            deepest: 0.0,
            alone: 0,
        }
    }

    pub(super) fn acknowledged(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        starved: bool,
        rtt: &RttEstimator,
    ) {
        self.cubic.on_ack(now, sent, bytes, starved, rtt);
    }

    pub(super) fn lost(&mut self, now: Instant, sent: Instant, persistent: bool, bytes: u64) {
        self.cubic.on_congestion_event(now, sent, persistent, bytes);
    }

    pub(super) fn mtu(&mut self, mtu: u16) {
        self.cubic.on_mtu_update(mtu);
    }

    /// Bytes.
    pub(super) fn window(&self) -> f64 {
        self.cubic.window() as f64
    }

    /// A round ended, with a `queue` in s that is more than ours (`crowd`) or not; whether the rival is gone. Rates are bytes/s.
    pub(super) fn gone(&mut self, crowd: bool, queue: f64, rate: f64, rate_alone: f64) -> bool {
        self.deepest = (self.deepest * FORGET).max(queue);
        let alone = rate_alone > 0.0 && rate > ALONE * rate_alone;
        self.alone = if alone { self.alone + 1 } else { 0 };
        let emptied = !crowd && queue < EMPTY * self.deepest;
        emptied || self.alone >= ALONE_ROUNDS
    }

    /// It is time to see whether the queue goes when we hold back.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.looked) > LOOK;
        if due {
            self.looked = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_the_window_that_we_had() {
        let now = Instant::now();
        for late in [false, true] {
            let rival = Rival::new(now, 100_000.0, 1200.0, late);
            assert!((rival.window() - 100_000.0).abs() < 2.0);
        }
    }

    #[test]
    fn it_is_gone_when_the_queue_empties_or_the_whole_rate_is_ours() {
        let mut rival = Rival::new(Instant::now(), 100_000.0, 1200.0, false);
        assert!(!rival.gone(true, 0.1, 5e5, 1e6));
        assert!(!rival.gone(false, 0.05, 5e5, 1e6));
        assert!(rival.gone(false, 0.01, 5e5, 1e6));
        let crowded: Vec<bool> = (0..3).map(|_| rival.gone(true, 0.1, 9.5e5, 1e6)).collect();
        assert_eq!(crowded, [false, false, true]);
    }

    #[test]
    fn it_is_looked_for_now_and_then() {
        let now = Instant::now();
        let mut rival = Rival::new(now, 100_000.0, 1200.0, false);
        assert!(!rival.look(now + LOOK));
        let later = now + LOOK + Duration::from_secs(1);
        assert!(rival.look(later));
        assert!(!rival.look(later + LOOK));
    }
}
