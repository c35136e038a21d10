//! Dips: for a moment less is sent, so that our own queue empties and the path's round trip shows, or somebody else's queue.

use std::time::{Duration, Instant};

/// Between two dips, and as old the shortest round trip has to be.
const EVERY: Duration = Duration::from_secs(5);
/// Rounds that a dip takes at most; it ends as soon as so little is in flight.
const ROUNDS: u32 = 2;
/// Rounds that a look for a rival takes.
const LOOK_ROUNDS: u32 = 3;
/// Rounds after the begin in which a dip shows in round trips.
const WATCHED: u32 = 4;
/// A queue that keeps this share of its depth through a dip is not ours.
const FOREIGN: f64 = 0.7;

#[derive(Clone, Debug)]
pub(super) struct Dip {
    rounds: u32,
    look: bool,
    /// Bytes in flight at most, meanwhile.
    window: f64,
    ended: Instant,
    watched: u32,
    /// Queues in s.
    before: f64,
    least: f64,
}

impl Dip {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            rounds: 0,
            look: false,
            window: 0.0,
            ended: now,
            watched: 0,
            before: 0.0,
            least: 0.0,
        }
    }

    pub(super) fn window(&self) -> Option<f64> {
        (self.rounds > 0).then_some(self.window)
    }

    /// Whether there is one, or what it has changed may still be seen.
    pub(super) fn is_watched(&self) -> bool {
        self.rounds > 0 || self.watched > 0
    }

    pub(super) fn is_due(&self, now: Instant, age: Duration) -> bool {
        self.rounds == 0 && age > EVERY && now.saturating_duration_since(self.ended) > EVERY
    }

    /// Begins one that is to end ours: `queue` in s, and at least as much as `usual` half-way.
    pub(super) fn begin(&mut self, window: f64, queue: f64, usual: f64) {
        self.rounds = ROUNDS;
        self.look = false;
        self.window = window;
        self.watched = WATCHED;
        self.before = queue.max(FOREIGN * usual);
        self.least = f64::INFINITY;
    }

    /// Begins one that is to show whether a rival is still there.
    pub(super) fn look(&mut self, window: f64) {
        self.rounds = LOOK_ROUNDS;
        self.look = true;
        self.window = window;
    }

    pub(super) fn stop(&mut self) {
        self.rounds = 0;
    }

    pub(super) fn in_flight(&mut self, now: Instant, bytes: f64) {
        if self.rounds > 0 && !self.look && bytes <= self.window {
            self.rounds = 0;
            self.ended = now;
        }
    }

    /// A round ended, with a `queue` in s; whether a dip has shown that somebody else's queue remains.
    pub(super) fn round(&mut self, now: Instant, queue: f64) -> bool {
        if self.rounds > 0 {
            self.rounds -= 1;
            if self.rounds == 0 {
                self.ended = now;
            }
        }
        if self.watched == 0 {
            return false;
        }
        self.watched -= 1;
        self.least = self.least.min(queue);
        self.watched == 0 && self.least > FOREIGN * self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_stays_is_foreign_and_one_that_goes_is_not() {
        for (queues, foreign) in [
            ([0.02, 0.02, 0.019, 0.02], true),
            ([0.02, 0.0, 0.01, 0.02], false),
        ] {
            let now = Instant::now();
            let mut dip = Dip::new(now);
            assert!(dip.is_due(now + 2 * EVERY, 2 * EVERY));
            assert!(!dip.is_due(now + 2 * EVERY, EVERY));
            dip.begin(50_000.0, 0.02, 0.01);
            assert_eq!(dip.window(), Some(50_000.0));
            dip.in_flight(now, 60_000.0);
            assert!(dip.window().is_some());
            dip.in_flight(now, 50_000.0);
            assert!(dip.window().is_none());
            let seen: Vec<bool> = queues.iter().map(|queue| dip.round(now, *queue)).collect();
            assert_eq!(seen, [false, false, false, foreign]);
        }
    }

    #[test]
    fn a_look_lasts_its_rounds() {
        let now = Instant::now();
        let mut dip = Dip::new(now);
        dip.look(50_000.0);
        for _ in 0..LOOK_ROUNDS {
            dip.in_flight(now, 0.0);
            assert!(dip.window().is_some());
            assert!(!dip.round(now, 0.1));
        }
        assert!(dip.window().is_none());
    }
}
