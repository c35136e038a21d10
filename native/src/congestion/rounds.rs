//! Rounds: what arrived and what was lost between a packet and its acknowledgement.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Rounds over which the best rate counts.
const RATES: usize = 10;
/// Acknowledgements that [`Rounds::short_rate`] looks back over, at most.
const MARKS: usize = 64;

/// A round that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) took: Duration,
    /// Bytes.
    pub(super) delivered: u64,
    pub(super) lost: u64,
    /// The sender had nothing to send at some time.
    pub(super) starved: bool,
    pub(super) shortest: Duration,
}

impl Round {
    fn fresh() -> Self {
        Self {
            took: Duration::ZERO,
            delivered: 0,
            lost: 0,
            starved: false,
            shortest: Duration::MAX,
        }
    }

    /// Bytes/s that were sent for what arrived.
    pub(super) fn sent_rate(&self) -> f64 {
        (self.delivered + self.lost) as f64 / self.took.as_secs_f64().max(1e-6)
    }

    pub(super) fn lost_share(&self) -> f64 {
        self.lost as f64 / (self.delivered + self.lost).max(1) as f64
    }
}

#[derive(Clone, Debug)]
pub(super) struct Rounds {
    began: Instant,
    open: Round,
    /// Bytes/s.
    rates: VecDeque<f64>,
    delivered: u64,
    /// When how much had been delivered.
    marks: VecDeque<(Instant, u64)>,
}

impl Rounds {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            open: Round::fresh(),
            rates: VecDeque::new(),
            delivered: 0,
            marks: VecDeque::new(),
        }
    }

    /// An acknowledgement of `bytes`, the newest of them sent at `sent`; gives the round that it ends.
    pub(super) fn acknowledged(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        starved: bool,
    ) -> Option<Round> {
        self.open.delivered += bytes;
        self.open.starved |= starved;
        let trip = now.saturating_duration_since(sent);
        self.open.shortest = self.open.shortest.min(trip);
        self.delivered += bytes;
        self.marks.push_back((now, self.delivered));
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
        if sent < self.began {
            return None;
        }
        let took = now.saturating_duration_since(self.began);
        self.began = now;
        let round = Round {
            took,
            ..std::mem::replace(&mut self.open, Round::fresh())
        };
        let rate = round.delivered as f64 / took.as_secs_f64().max(1e-6);
        if !round.starved || rate > self.rate() {
            self.rates.push_back(rate);
            if self.rates.len() > RATES {
                self.rates.pop_front();
            }
        }
        Some(round)
    }

    pub(super) fn lost(&mut self, bytes: u64) {
        self.open.lost += bytes;
    }

    /// The best of late, bytes/s.
    pub(super) fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// The last round's, bytes/s.
    pub(super) fn last_rate(&self) -> f64 {
        self.rates.back().copied().unwrap_or(0.0)
    }

    /// Of the last quarter of a round trip of `base_s`, bytes/s.
    pub(super) fn short_rate(&self, base_s: f64) -> f64 {
        let Some((last, total)) = self.marks.back() else {
            return 0.0;
        };
        let long = self.marks.iter().rev().find_map(|(at, had)| {
            let span = last.saturating_duration_since(*at).as_secs_f64();
            (span >= base_s / 4.0).then(|| (total - had) as f64 / span)
        });
        long.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_ends_with_what_was_sent_after_its_begin() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rounds = Rounds::new(start);
        assert!(rounds.acknowledged(at(100), at(0), 1000, false).is_some());
        rounds.lost(500);
        assert!(rounds.acknowledged(at(150), at(60), 1000, false).is_none());
        let round = rounds.acknowledged(at(200), at(100), 500, false).unwrap();
        assert_eq!((round.delivered, round.lost), (1500, 500));
        assert_eq!(round.shortest, Duration::from_millis(90));
        assert!((round.lost_share() - 0.25).abs() < 1e-9);
        assert!((rounds.rate() - 15_000.0).abs() < 1.0);
    }

    #[test]
    fn a_round_without_enough_to_send_does_not_lower_the_rate() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rounds = Rounds::new(start);
        rounds.acknowledged(at(100), at(0), 100_000, false);
        for round in 1..20 {
            rounds.acknowledged(at(100 + round * 100), at(round * 100), 100, true);
        }
        assert!((rounds.rate() - 1e6).abs() < 1.0);
    }
}
