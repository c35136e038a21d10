//! One direction of a path: loss, a queue that drops its tail, a rate, a delay. Times are nanoseconds of the scene.

use super::Chance;

/// What UDP and IPv4 add to a datagram, in bytes.
pub const HEADERS: u64 = 28;

/// What a link does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Mbit/s of IP packets.
    pub rate_mbit: f64,
    /// Round trip without a queue, ms; each direction takes half of it.
    pub rtt_ms: f64,
    /// Added to each packet, uniform from 0, ms; packets do not overtake each other.
    pub jitter_ms: f64,
    /// Probability, each way.
    pub loss: f64,
    /// IP packets' bytes that wait for the rate, those being sent included.
    pub queue_bytes: u64,
    /// A token bucket instead of a queue: what exceeds the rate by more than `queue_bytes` is dropped, nothing waits.
    pub policer: bool,
    /// At this time, s, `rtt_ms` becomes that.
    pub change: Option<(f64, f64)>,
    /// Busy hosts: nothing arrives for so many ms, after so many ms, both in the mean (exponential); then all of it does at once.
    pub stalls: Option<(f64, f64)>,
}

impl Link {
    /// A link without jitter; the queue is `bdp` times the product of rate and round trip, and 16 packets at least.
    pub fn new(rate_mbit: f64, rtt_ms: f64, loss: f64, bdp: f64) -> Self {
        let product = rate_mbit * 125.0 * rtt_ms;
        Self {
            rate_mbit,
            rtt_ms,
            jitter_ms: 0.0,
            loss,
            queue_bytes: ((product * bdp) as u64).max(16 * 1500),
            policer: false,
            change: None,
            stalls: None,
        }
    }
}

/// When nothing arrives.
struct Stalls {
    every_ns: f64,
    mean_ns: f64,
    chance: Chance,
    begins: u64,
    ends: u64,
}

impl Stalls {
    fn new(every_ms: f64, mean_ms: f64, mut chance: Chance) -> Self {
        let mut stalls = Self {
            every_ns: every_ms * 1e6,
            mean_ns: mean_ms * 1e6,
            chance: Chance::new((chance.next() * 1e15) as u64),
            begins: 0,
            ends: 0,
        };
        stalls.another();
        stalls
    }

    fn another(&mut self) {
        let mut some = |mean: f64| (-mean * (1.0 - self.chance.next()).ln()) as u64;
        self.begins = self.ends + some(self.every_ns);
        self.ends = self.begins + some(self.mean_ns);
    }

    /// When a packet is seen that arrives at `due`, which never decreases.
    fn seen(&mut self, due: u64) -> u64 {
        while self.ends <= due {
            self.another();
        }
        if self.begins <= due { self.ends } else { due }
    }
}

pub(super) struct Direction {
    link: Link,
    chance: Chance,
    free_at: u64,
    last_due: u64,
    stalls: Option<Stalls>,
    /// ns that packets waited, by packet; with the packet's time.
    pub(super) waited: Vec<(u64, u64)>,
    pub(super) overflow: u64,
}

impl Direction {
    pub(super) fn new(link: Link, chance: Chance) -> Self {
        let stalls = link
            .stalls
            .map(|(every_ms, mean_ms)| Stalls::new(every_ms, mean_ms, chance.clone()));
        Self {
            link,
            chance,
            free_at: 0,
            last_due: 0,
            stalls,
            waited: Vec::new(),
            overflow: 0,
        }
    }

    /// When a datagram of `bytes` that is sent now arrives; never, if it is dropped.
    pub(super) fn admit(&mut self, now: u64, bytes: u64) -> Option<u64> {
        let bytes = bytes + HEADERS;
        let lost = self.chance.next() < self.link.loss;
        let shaken = self.chance.next();
        if lost {
            return None;
        }
        let per_ns = self.link.rate_mbit / 8e3; // bytes
        let wait = self.free_at.saturating_sub(now);
        if wait as f64 * per_ns + bytes as f64 > self.link.queue_bytes as f64 {
            self.overflow += 1;
            return None;
        }
        self.free_at = now.max(self.free_at) + (bytes as f64 / per_ns) as u64;
        let sent = if self.link.policer { now } else { self.free_at };
        self.waited
            .push((now, if self.link.policer { 0 } else { wait }));
        let rtt_ms = match self.link.change {
            Some((at_s, ms)) if now as f64 >= at_s * 1e9 => ms,
            _ => self.link.rtt_ms,
        };
        let delay = rtt_ms / 2.0 + shaken * self.link.jitter_ms;
        let due = (sent + (delay * 1e6) as u64).max(self.last_due);
        self.last_due = due;
        Some(match &mut self.stalls {
            Some(stalls) => stalls.seen(due),
            None => due,
        })
    }
}
