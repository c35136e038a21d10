//! Policers: what exceeds a rate is dropped, nothing waits. Losses stay while round trips are short and the rate does not grow.

use std::time::{Duration, Instant};

use super::rounds::Round;

/// Rounds that are looked at together.
const ROUNDS: u32 = 12;
/// What has to be lost in either half of them, as a share.
const LOST: f64 = 0.03;
/// A rate that grows by this factor is no policer's.
const GROWTH: f64 = 1.05;
/// What is sent then, as a share of what arrived.
const HELD: f64 = 0.98;
/// What the window changes by in a round, to keep that rate.
const STEP: (f64, f64) = (0.95, 1.05);
/// With a policer this share of the losses, at most, remains.
const REMAIN: f64 = 0.4;
/// How long that is believed: this time, and so many rounds.
const BELIEVED: Duration = Duration::from_secs(15);
const BELIEVED_ROUNDS: u32 = 120;
/// Who was wrong waits for twice as many looks, up to this.
const WAIT_MAX: u32 = 32;

#[derive(Clone, Debug, Default)]
struct Look {
    rounds: u32,
    queued: bool,
    /// Of the first half and of the second: bytes, and s.
    delivered: [u64; 2],
    lost: [u64; 2],
    took_s: [f64; 2],
}

impl Look {
    fn add(&mut self, round: &Round, queued: bool) {
        let half = usize::from(self.rounds >= ROUNDS / 2);
        self.rounds += 1;
        self.queued |= queued;
        self.delivered[half] += round.delivered;
        self.lost[half] += round.lost;
        self.took_s[half] += round.took.as_secs_f64();
    }

    fn lost_share(&self, half: usize) -> f64 {
        let (delivered, lost) = (self.delivered[half], self.lost[half]);
        lost as f64 / (delivered + lost).max(1) as f64
    }

    /// Bytes/s.
    fn rate(&self, half: usize) -> f64 {
        self.delivered[half] as f64 / self.took_s[half].max(1e-6)
    }

    fn is_policed(&self) -> bool {
        let lost = self.lost_share(0).min(self.lost_share(1));
        !self.queued && lost > LOST && self.rate(1) < GROWTH * self.rate(0)
    }
}

#[derive(Clone, Debug)]
struct Held {
    /// Bytes/s, and the bytes in flight that give them.
    rate: f64,
    window: f64,
    since: Instant,
    rounds: u32,
    /// Lost before, as a share.
    before: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Police {
    look: Look,
    held: Option<Held>,
    wait: u32,
    waits: u32,
}

impl Default for Police {
    fn default() -> Self {
        Self {
            look: Look::default(),
            held: None,
            wait: 0,
            waits: 1,
        }
    }
}

impl Police {
    /// Bytes in flight at most.
    pub(super) fn window(&self) -> Option<f64> {
        self.held.as_ref().map(|held| held.window)
    }

    /// A round ended, in which a queue showed or not.
    pub(super) fn round(&mut self, now: Instant, round: &Round, base_s: f64, queued: bool) {
        if let Some(held) = &mut self.held {
            let (low, high) = STEP;
            held.window *= (held.rate / round.sent_rate()).clamp(low, high);
        }
        self.look.add(round, queued);
        if self.look.rounds < ROUNDS {
            return;
        }
        let look = std::mem::take(&mut self.look);
        if let Some(held) = &mut self.held {
            held.rounds += ROUNDS;
            let age = now.saturating_duration_since(held.since);
            let old = age > BELIEVED && held.rounds >= BELIEVED_ROUNDS;
            // The first half tells of what was sent before.
            let wrong = look.lost_share(1) > REMAIN * held.before;
            if wrong {
                self.waits = (2 * self.waits).min(WAIT_MAX);
                self.wait = self.waits;
            }
            if old || wrong {
                self.held = None;
            }
        } else if self.wait > 0 {
            self.wait -= 1;
        } else if look.is_policed() {
            let rate = look.rate(0).midpoint(look.rate(1));
            self.held = Some(Held {
                rate: HELD * rate,
                window: HELD * rate * base_s,
                since: now,
                rounds: 0,
                before: look.lost_share(0).midpoint(look.lost_share(1)),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(delivered: u64, lost: u64) -> Round {
        Round {
            took: Duration::from_millis(100),
            delivered,
            lost,
            starved: false,
            shortest: Duration::from_millis(100),
        }
    }

    /// So many looks with such a round.
    fn look(police: &mut Police, looks: u32, round: &Round, queued: bool) {
        for _ in 0..looks * ROUNDS {
            police.round(Instant::now(), round, 0.1, queued);
        }
    }

    #[test]
    fn losses_without_a_queue_at_a_rate_that_stays_hold_the_window() {
        let mut police = Police::default();
        look(&mut police, 1, &round(100_000, 20_000), false);
        let window = police.window().unwrap();
        assert!((window - HELD * 100_000.0).abs() < 1.0);
        look(&mut police, 3, &round(98_000, 0), false);
        assert!((police.window().unwrap() - window).abs() < 1000.0);
        for (lost, queued) in [(1000, false), (20_000, true)] {
            let mut police = Police::default();
            look(&mut police, 3, &round(100_000, lost), queued);
            assert!(police.window().is_none());
        }
    }

    #[test]
    fn who_loses_as_much_with_less_is_let_go_for_longer_and_longer() {
        let mut police = Police::default();
        let lossy = round(100_000, 20_000);
        let held: Vec<bool> = (0..12)
            .map(|_| {
                look(&mut police, 1, &lossy, false);
                police.window().is_some()
            })
            .collect();
        let expected = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0].map(|held| held == 1);
        assert_eq!(held, expected);
    }

    #[test]
    fn a_window_that_gives_less_than_the_rate_is_made_larger() {
        let mut police = Police::default();
        look(&mut police, 1, &round(100_000, 20_000), false);
        let before = police.window().unwrap();
        police.round(Instant::now(), &round(50_000, 0), 0.1, false);
        assert!((police.window().unwrap() - before * STEP.1).abs() < 1.0);
    }
}
