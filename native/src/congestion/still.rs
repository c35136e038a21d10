//! Round trips that stay long while the window changes: the path has become longer, nobody queues.

use std::collections::VecDeque;

/// Rounds that are looked at together.
const ROUNDS: usize = 8;
/// By this factor the window has to change meanwhile.
const CHANGE: f64 = 1.3;
/// Round trips differ by not more than this time, or this share of what they are too long.
const SPREAD_S: f64 = 0.0005;
const SPREAD: f64 = 1.0 / 16.0;

/// The last rounds that were too long.
#[derive(Clone, Debug, Default)]
pub(super) struct Still {
    /// Bytes in flight at most and the shortest round trip in s.
    rounds: VecDeque<(f64, f64)>,
}

impl Still {
    /// A round took `trip` s at least, `queue` s more than the shortest of late, with so large a window; whether it is the path
    /// that takes so long.
    pub(super) fn round(&mut self, window: f64, trip: f64, queue: f64) -> bool {
        self.rounds.push_back((window, trip));
        if self.rounds.len() > ROUNDS {
            self.rounds.pop_front();
        }
        if self.rounds.len() < ROUNDS {
            return false;
        }
        let span = |of: fn(&(f64, f64)) -> f64| {
            let values = self.rounds.iter().map(of);
            values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let (narrow, wide) = span(|(window, _)| *window);
        let (short, long) = span(|(_, trip)| *trip);
        wide > CHANGE * narrow && long - short < (SPREAD * queue).max(SPREAD_S)
    }

    pub(super) fn clear(&mut self) {
        self.rounds.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trip_that_no_window_changes_is_the_paths() {
        let mut still = Still::default();
        let seen: Vec<bool> = (0..ROUNDS)
            .map(|round| still.round(1e5 - 1e4 * round as f64, 0.12, 0.08))
            .collect();
        assert_eq!(seen.iter().position(|found| *found), Some(ROUNDS - 1));
    }

    #[test]
    fn neither_a_queue_that_moves_nor_a_window_that_stays_tells() {
        let mut still = Still::default();
        for round in 0..100 {
            let moved = f64::from(round % 10);
            assert!(!still.round(1e5 + 1e4 * moved, 0.12 + 0.001 * moved, 0.08));
        }
        still.clear();
        for _ in 0..100 {
            assert!(!still.round(1e5, 0.12, 0.08));
        }
    }
}
