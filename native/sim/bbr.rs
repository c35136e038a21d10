//! A sender after BBR version 1 (Cardwell et al., 2016), as a peer to share a link with: its gains, its windows, no more.

use std::collections::BTreeMap;

/// Bytes of a datagram, headers not included.
pub(super) const PACKET: u64 = 1452;
const GAINS: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
const HIGH_GAIN: f64 = 2.885;
const MIN_RTT_NS: u64 = 10_000_000_000;
const PROBE_NS: u64 = 200_000_000;

enum Mode {
    Startup,
    Drain,
    Bandwidth { phase: usize, since: u64 },
    MinRtt { until: Option<u64>, filled: bool },
}

struct Sent {
    time: u64,
    delivered: u64,
    delivered_at: u64,
    first_sent: u64,
}

pub(super) struct Bbr {
    mode: Mode,
    next: u64,
    flying: BTreeMap<u64, Sent>,
    pub(super) delivered: u64,
    delivered_at: u64,
    first_sent: u64,
    pub(super) sent: u64,
    pub(super) lost: u64,
    round_ends: u64,
    round: u64,
    /// (round, bytes per ns)
    rates: Vec<(u64, f64)>,
    min_rtt: u64,
    min_rtt_at: u64,
    full: f64,
    full_rounds: u32,
    may_send_at: u64,
    /// A timer is set for then.
    timer: u64,
    last_ack: u64,
    /// Packets of the burst that is being sent.
    debt: u64,
}

impl Bbr {
    pub(super) fn new(now: u64) -> Self {
        Self {
            mode: Mode::Startup,
            next: 1,
            flying: BTreeMap::new(),
            delivered: 0,
            delivered_at: now,
            first_sent: now,
            sent: 0,
            lost: 0,
            round_ends: 0,
            round: 0,
            rates: Vec::new(),
            min_rtt: u64::MAX,
            min_rtt_at: now,
            full: 0.0,
            full_rounds: 0,
            may_send_at: now,
            timer: 0,
            last_ack: now,
            debt: 0,
        }
    }

    fn rate(&self) -> f64 {
        self.rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max)
    }

    fn gains(&self) -> (f64, f64) {
        match self.mode {
            Mode::Startup => (HIGH_GAIN, HIGH_GAIN),
            Mode::Drain => (1.0 / HIGH_GAIN, HIGH_GAIN),
            Mode::Bandwidth { phase, .. } => (GAINS[phase], 2.0),
            Mode::MinRtt { .. } => (1.0, 1.0),
        }
    }

    fn product(&self) -> f64 {
        self.rate() * self.min_rtt as f64
    }

    pub(super) fn window(&self) -> u64 {
        if self.min_rtt == u64::MAX {
            return 10 * PACKET;
        }
        if matches!(self.mode, Mode::MinRtt { .. }) {
            return 4 * PACKET;
        }
        ((self.gains().1 * self.product()) as u64).max(10 * PACKET)
    }

    /// Numbers of the packets that go now; when to ask again.
    pub(super) fn send(&mut self, now: u64, out: &mut Vec<u64>) -> Option<u64> {
        if now >= self.last_ack + 1_000_000_000 && !self.flying.is_empty() {
            self.lost += self.flying.len() as u64;
            self.flying.clear();
            self.last_ack = now;
        }
        let rate = if self.rate() > 0.0 {
            self.rate() * self.gains().0
        } else {
            10.0 * PACKET as f64 / 1e6
        };
        while now >= self.may_send_at && (self.flying.len() as u64 + 1) * PACKET <= self.window() {
            if self.flying.is_empty() {
                self.first_sent = now;
                self.delivered_at = now;
            }
            let sent = Sent {
                time: now,
                delivered: self.delivered,
                delivered_at: self.delivered_at,
                first_sent: self.first_sent,
            };
            self.flying.insert(self.next, sent);
            out.push(self.next);
            self.next += 1;
            self.sent += 1;
            // As TCP segmentation offload has it: a millisecond's worth at once.
            self.debt += 1;
            if self.debt as f64 * PACKET as f64 >= (rate * 1e6).clamp(2.0 * PACKET as f64, 65536.0)
            {
                let bytes = (self.debt * PACKET) as f64;
                self.may_send_at = self.may_send_at.max(now) + (bytes / rate) as u64;
                self.debt = 0;
            }
        }
        let at = if self.may_send_at > now {
            self.may_send_at
        } else {
            self.last_ack.max(now) + 1_000_000_000
        };
        if self.timer > now && self.timer <= at {
            return None;
        }
        self.timer = at;
        Some(at)
    }

    pub(super) fn acknowledged(&mut self, now: u64, number: u64) {
        let Some(sent) = self.flying.remove(&number) else {
            return;
        };
        self.last_ack = now;
        self.delivered += PACKET;
        self.delivered_at = now;
        self.first_sent = sent.time;
        let lost: Vec<u64> = self
            .flying
            .range(..number.saturating_sub(3))
            .map(|(n, _)| *n)
            .collect();
        for number in lost {
            self.flying.remove(&number);
            self.lost += 1;
        }
        if sent.delivered >= self.round_ends {
            self.round_ends = self.delivered;
            self.round += 1;
            self.plateau();
        }
        let acks = now - sent.delivered_at;
        let sends = sent.time - sent.first_sent;
        let interval = acks.max(sends).max(1);
        let rate = (self.delivered - sent.delivered) as f64 / interval as f64;
        let round = self.round;
        self.rates.retain(|(at, r)| round - at < 10 && *r > rate);
        self.rates.push((round, rate));
        let rtt = now - sent.time;
        let expired = now - self.min_rtt_at > MIN_RTT_NS;
        if rtt <= self.min_rtt || expired {
            self.min_rtt = rtt;
            self.min_rtt_at = now;
        }
        self.step(now, expired);
    }

    fn plateau(&mut self) {
        if self.rate() > self.full * 1.25 {
            self.full = self.rate();
            self.full_rounds = 0;
        } else {
            self.full_rounds += 1;
        }
    }

    fn step(&mut self, now: u64, expired: bool) {
        let flying = self.flying.len() as f64 * PACKET as f64;
        let filled = self.full_rounds >= 3;
        let product = self.product();
        let steady = Mode::Bandwidth {
            phase: 2,
            since: now,
        };
        match &mut self.mode {
            Mode::Startup if filled => self.mode = Mode::Drain,
            Mode::Drain if flying <= product => self.mode = steady,
            Mode::Bandwidth { phase, since } => {
                let long = now - *since > self.min_rtt;
                let over = match *phase {
                    0 => long,
                    1 => long || flying <= product,
                    _ => long,
                };
                if over {
                    *phase = (*phase + 1) % GAINS.len();
                    *since = now;
                }
            }
            Mode::MinRtt {
                until: Some(until),
                filled,
            } if now >= *until => {
                self.mode = if *filled { steady } else { Mode::Startup };
                self.min_rtt_at = now;
                return;
            }
            Mode::MinRtt {
                until: until @ None,
                ..
            } if flying <= 4.0 * PACKET as f64 => {
                *until = Some(now + PROBE_NS);
            }
            _ => {}
        }
        if expired && !matches!(self.mode, Mode::MinRtt { .. }) {
            self.mode = Mode::MinRtt {
                until: None,
                filled,
            };
        }
    }
}
