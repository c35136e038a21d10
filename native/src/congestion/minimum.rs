//! The shortest round trip of late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The minimum over a span of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Minimum {
    /// Ascending in time and in value: each is the minimum once those before it have expired.
    samples: VecDeque<(Instant, Duration)>,
}

impl Minimum {
    pub(crate) fn add(&mut self, now: Instant, value: Duration, span: Duration) {
        while self.samples.back().is_some_and(|(_, v)| *v >= value) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, value));
        while self.samples.len() > SAMPLES
            || self
                .samples
                .front()
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) > span)
        {
            self.samples.pop_front();
        }
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        self.samples.front().map(|(_, value)| *value)
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        self.samples
            .front()
            .map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
    }
}

/// Kept at most: where round trips only grow, all of them would be.
const SAMPLES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_the_span_and_then_the_next() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut minimum = Minimum::default();
        for (at, value) in [(0, 50), (100, 40), (200, 60), (300, 45)] {
            minimum.add(start + ms(at), ms(value), ms(1000));
        }
        assert_eq!(minimum.get(), Some(ms(40)));
        assert_eq!(minimum.age(start + ms(300)), ms(200));
        minimum.add(start + ms(1101), ms(70), ms(1000));
        assert_eq!(minimum.get(), Some(ms(45)));
    }

    #[test]
    fn trips_that_only_grow_take_bounded_memory() {
        let start = Instant::now();
        let mut minimum = Minimum::default();
        for step in 0..10_000 {
            let at = start + Duration::from_micros(step);
            minimum.add(at, Duration::from_micros(step), Duration::from_secs(1));
        }
        assert_eq!(minimum.samples.len(), SAMPLES);
    }
}
