//! Which losses tell of a full queue or a policer: those beyond what the path loses anyway.

use std::collections::VecDeque;

/// Packets over which a share of losses is taken, at least.
const EPOCH_PACKETS: f64 = 100.0;
/// Epochs that are remembered.
const EPOCHS: usize = 12;
/// A share by which nothing is remarkable.
const MARGIN: f64 = 0.01;
/// A path that loses more than this share is not sent more for it: else a policer would be taken for such a path.
const USUAL_MAX: f64 = 0.15;

#[derive(Clone, Debug)]
pub(super) struct Losses {
    /// Bytes of the epoch.
    delivered: f64,
    lost: f64,
    /// Shares of the last epochs; none at first, so that the losses of a start are not usual.
    epochs: VecDeque<f64>,
    /// Share that the path is used to lose: the lower quartile.
    pub(super) usual: f64,
}

impl Default for Losses {
    fn default() -> Self {
        Self {
            delivered: 0.0,
            lost: 0.0,
            epochs: VecDeque::from([0.0]),
            usual: 0.0,
        }
    }
}

impl Losses {
    pub(super) fn lost(&mut self, bytes: f64) {
        self.lost += bytes;
    }

    /// `bytes` arrived. At the end of an epoch it gives the share that was lost beyond the usual, if that is remarkable.
    pub(super) fn delivered(&mut self, bytes: f64, window: f64, mtu: f64) -> Option<f64> {
        self.delivered += bytes;
        let sum = self.delivered + self.lost;
        if sum < (EPOCH_PACKETS * mtu).max(window) {
            return None;
        }
        let share = self.lost / sum;
        (self.delivered, self.lost) = (0.0, 0.0);
        let excess = share - self.usual;
        let packets = sum / mtu;
        let noise = 2.0 * (self.usual.max(0.005) * (1.0 - self.usual) / packets).sqrt();
        self.epochs.push_back(share);
        if self.epochs.len() > EPOCHS {
            self.epochs.pop_front();
        }
        let mut sorted: Vec<f64> = self.epochs.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        self.usual = sorted[sorted.len() / 4].min(USUAL_MAX);
        (excess > MARGIN + noise).then_some(excess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(losses: &mut Losses, lost: u32) -> Option<f64> {
        losses.lost(f64::from(lost) * 1200.0);
        losses.delivered(f64::from(100 - lost) * 1200.0, 24_000.0, 1200.0)
    }

    #[test]
    fn a_share_that_stays_becomes_usual() {
        let mut losses = Losses::default();
        let remarkable = (0..8).filter(|_| epoch(&mut losses, 5).is_some()).count();
        assert!(remarkable <= 3, "{remarkable}");
        assert!((losses.usual - 0.05).abs() < 1e-9);
        assert_eq!(epoch(&mut losses, 7), None);
        let excess = epoch(&mut losses, 30).unwrap();
        assert!((excess - 0.25).abs() < 1e-9);
    }

    #[test]
    fn losses_between_clean_epochs_stay_remarkable() {
        let mut losses = Losses::default();
        for _ in 0..20 {
            assert_eq!(epoch(&mut losses, 0), None);
            assert!(epoch(&mut losses, 10).is_some());
        }
    }

    #[test]
    fn nothing_is_said_before_the_end_of_an_epoch() {
        let mut losses = Losses::default();
        losses.lost(50_000.0);
        assert_eq!(losses.delivered(50_000.0, 24_000.0, 1200.0), None);
    }
}
