//! A start: doubling until the path is full; and another one where it may have ended before it was.

/// A start ends after so many rounds without this growth of the rate, or with this share lost.
const ROUNDS: u32 = 3;
const GROWTH: f64 = 1.2;
const LOSS: f64 = 0.15;
/// Packets that are lost by chance: of the first rounds they are a large share.
const LOST_PACKETS: f64 = 8.0;
/// Rounds of the cruise without a queue after which there may be room: at first, and at most after starts in vain.
const QUIET: (f64, f64) = (6.0, 192.0);
/// What a round counts for that loses more than this share: who drops without a queue may be a policer.
const LOSSY: f64 = 0.03;
const LOSSY_COUNTS: f64 = 0.25;
/// After a start in vain so many times the rounds are waited for, after one that lost more than the path does so many.
const WAIT: f64 = 2.0;
const WAIT_LOST: f64 = 8.0;
/// Such a start sends so much more for a round, and waits for another one to see whether the rate grows by this.
const STEP: f64 = 0.25;
const STEP_GROWTH: f64 = 1.1;
const STEP_ROUNDS: u32 = 2;
/// A share lost beyond the usual that ends it.
const STEP_LOSS: f64 = 0.05;

/// A start that goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    /// Bytes/s, and rounds since.
    best: f64,
    rounds: u32,
    /// Rounds until it is known whether there is room.
    unsure: u32,
    again: bool,
    sure: bool,
}

/// How a start ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// At the rate of the path.
    Full,
    /// Where it began: there is no room.
    Vain,
    /// With many losses: there is no room, though nothing waits.
    Lossy,
}

impl Start {
    /// One that may be in vain, from that rate in bytes/s.
    fn again(rate: f64) -> Self {
        Self {
            best: rate,
            unsure: STEP_ROUNDS,
            again: true,
            ..Self::default()
        }
    }

    /// What the window grows by for each byte that has arrived.
    pub(super) fn pace(&self) -> f64 {
        match self.unsure {
            0 => 1.0,
            STEP_ROUNDS => STEP,
            _ => 0.0,
        }
    }

    /// A round ended, with a rate in bytes/s. Of `packets` this share was lost, of which so much is usual.
    pub(super) fn round(&mut self, rate: f64, lost: f64, usual: f64, packets: f64) -> Option<End> {
        let lost = if lost * packets < LOST_PACKETS {
            0.0
        } else {
            lost
        };
        if self.again && lost > usual + STEP_LOSS {
            return Some(End::Lossy);
        }
        if self.unsure > 0 {
            self.unsure -= 1;
            self.sure = self.unsure == 0 && rate >= STEP_GROWTH * self.best;
            return (self.unsure == 0 && !self.sure).then_some(End::Vain);
        }
        if rate > GROWTH * self.best {
            (self.best, self.rounds) = (rate, 0);
            return None;
        }
        self.rounds += 1;
        (self.rounds >= ROUNDS || lost > LOSS).then_some(End::Full)
    }

    /// Nothing was learned that was not known before.
    pub(super) fn is_vain(&self) -> bool {
        self.again && !self.sure
    }
}

/// When to start again.
#[derive(Clone, Debug)]
pub(super) struct Room {
    quiet: f64,
    needed: f64,
    /// Rate of the last start again, bytes/s.
    from: f64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            quiet: 0.0,
            needed: QUIET.0,
            from: 0.0,
        }
    }
}

impl Room {
    /// A round of the cruise ended, at `rate` in bytes/s, with that share lost, with a queue or not; gives the start that may
    /// follow.
    pub(super) fn round(&mut self, rate: f64, lost: f64, queued: bool) -> Option<Start> {
        if queued {
            self.quiet = 0.0;
            return None;
        }
        self.quiet += if lost > LOSSY { LOSSY_COUNTS } else { 1.0 };
        if rate > GROWTH * self.from {
            self.needed = QUIET.0;
        }
        if self.quiet < self.needed {
            return None;
        }
        self.quiet = 0.0;
        self.from = rate;
        self.wait(WAIT);
        Some(Start::again(rate))
    }

    fn wait(&mut self, times: f64) {
        self.needed = (times * self.needed).min(QUIET.1);
    }

    pub(super) fn ended(&mut self, end: End) {
        if end == End::Lossy {
            self.wait(WAIT_LOST);
        }
    }

    pub(super) fn clear(&mut self) {
        self.quiet = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds without a queue until there is a start.
    fn rounds(room: &mut Room, rate: f64, lost: f64) -> (u32, Start) {
        (1..)
            .find_map(|round| Some((round, room.round(rate, lost, false)?)))
            .unwrap()
    }

    #[test]
    fn a_start_ends_when_the_rate_does_not_grow_or_much_is_lost() {
        let mut start = Start::default();
        let rates = [1e5, 2e5, 2.1e5, 2.1e5, 2.1e5];
        let ends = rates.map(|rate| start.round(rate, 0.0, 0.0, 100.0));
        assert_eq!(ends, [None, None, None, None, Some(End::Full)]);
        let mut start = Start::default();
        start.round(1e5, 0.0, 0.0, 100.0);
        assert_eq!(start.round(1e5, 0.2, 0.0, 100.0), Some(End::Full));
    }

    #[test]
    fn a_few_packets_that_are_lost_do_not_end_it() {
        let mut start = Start::default();
        start.round(1e5, 0.0, 0.0, 10.0);
        assert_eq!(start.round(1e5, 0.3, 0.0, 10.0), None);
    }

    #[test]
    fn a_start_again_waits_for_the_rate_before_it_doubles() {
        for (rate, end, pace) in [(1.2e5, None, 1.0), (1e5, Some(End::Vain), 1.0)] {
            let mut start = rounds(&mut Room::default(), 1e5, 0.0).1;
            assert!((start.pace() - STEP).abs() < 1e-9);
            assert_eq!(start.round(1e5, 0.0, 0.0, 100.0), None);
            assert!(start.pace() == 0.0 && start.is_vain());
            assert_eq!(start.round(rate, 0.0, 0.0, 100.0), end);
            assert!((start.pace() - pace).abs() < 1e-9);
            assert_eq!(start.is_vain(), end.is_some());
        }
    }

    #[test]
    fn starts_in_vain_become_rare_until_the_rate_has_grown() {
        let mut room = Room::default();
        let mut waits = Vec::new();
        for rate in [1e5, 1e5, 1e5, 1.3e5] {
            waits.push(rounds(&mut room, rate, 0.0).0);
        }
        assert_eq!(waits, [6, 12, 24, 6]);
        room.ended(End::Lossy);
        assert_eq!(rounds(&mut room, 1.3e5, 0.0).0, 96);
    }

    #[test]
    fn a_queue_begins_the_count_anew_and_losses_make_it_longer() {
        let mut room = Room::default();
        for round in 0..100 {
            assert!(room.round(1e5, 0.0, round % 5 == 4).is_none());
        }
        assert_eq!(rounds(&mut Room::default(), 1e5, 0.1).0, 24);
    }
}
