//! What may be sent while the peer is silent: datagrams, a little beyond what is in flight.
//!
//! After an outage the congestion window is full of what was lost in it, and nothing tells so before something newer is
//! acknowledged. So from the moment that nothing recent has been acknowledged for a while, each datagram handed over makes
//! room for itself: for an initial window's worth (RFC 6928) once in a silence, and for a trickle of probes after that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::congestion::minimum::Minimum;
use crate::runtime::lock;

/// Silence is when nothing sent within this time, or within so many round trips, has been acknowledged.
const PATIENCE: Duration = Duration::from_secs(1);
const ROUND_TRIPS: u64 = 3;
/// RFC 6928: ten packets, of the size that every path takes.
pub(crate) const GRANT: u64 = 10 * 1472;
/// After that, bytes a second: 32 kbit/s.
const TRICKLE: u64 = 4_000;
/// What a packet has besides its datagram.
const OVERHEAD: u64 = 64;
/// As long as a round trip counts among the shortest.
const LATE: Duration = Duration::from_secs(60);
/// Of one sample in the round trip, as in RFC 9002.
const SHARE: u64 = 8;
const NOTHING: u64 = u64::MAX;
const MICROS: u64 = 1_000_000;

/// Shared by a connection, which knows of datagrams, and its congestion controller, which knows of packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silence(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// Microseconds after `start`: since when an acknowledgement is waited for.
    since: AtomicU64,
    patience: AtomicU64,
    /// The round trip, at its shortest: of late, since another path may be longer.
    shortest: Mutex<Minimum>,
    /// Bytes that may go beyond what is in flight.
    room: AtomicU64,
    budget: Mutex<Budget>,
    /// The round trip, in microseconds, without what a stop of ours or an outage made of it.
    calm_rtt: AtomicU64,
    /// Bytes of packets: acknowledged so far, and on their way.
    delivered: AtomicU64,
    in_flight: AtomicU64,
}

#[derive(Debug)]
struct Budget {
    /// Below zero: spent in advance.
    bytes: i64,
    filled_at: u64,
    /// The silence that it is for: its `since`.
    silence: u64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            since: AtomicU64::new(NOTHING),
            patience: AtomicU64::new(micros(PATIENCE)),
            shortest: Mutex::default(),
            room: AtomicU64::new(0),
            budget: Mutex::new(Budget {
                bytes: 0,
                filled_at: 0,
                silence: NOTHING,
            }),
            calm_rtt: AtomicU64::new(NOTHING),
            delivered: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        }
    }
}

impl Silence {
    /// A datagram is about to be handed over.
    pub(crate) fn datagram(&self, now: Instant, size: usize) {
        let shared = &*self.0;
        let Some(since) = shared.lasts_since(now) else {
            return;
        };
        let now = shared.at(now);
        let mut budget = lock(&shared.budget);
        budget.refill(now, since);
        let granted = budget.bytes.clamp(0, signed(size as u64 + OVERHEAD));
        budget.bytes -= granted;
        let granted = granted.unsigned_abs();
        shared.room.fetch_add(granted, Ordering::Relaxed);
    }

    /// So many bytes are about to be sent on a path that is not known yet: whatever is in flight says nothing about it.
    pub(crate) fn probe(&self, size: usize) {
        let size = size as u64 + OVERHEAD;
        self.0.room.fetch_add(size.min(GRANT), Ordering::Relaxed);
    }

    /// Whether an acknowledgement is waited for.
    pub(crate) fn waits(&self) -> bool {
        self.0.since.load(Ordering::Relaxed) != NOTHING
    }

    pub(crate) fn lasts(&self, now: Instant) -> bool {
        self.0.lasts_since(now).is_some()
    }

    /// Bytes that may go beyond what is in flight; almost always none.
    pub(crate) fn room(&self) -> u64 {
        self.0.room.load(Ordering::Relaxed)
    }

    /// Packets were sent; `first`: nothing was in flight before.
    pub(crate) fn sent(&self, now: Instant, bytes: u64, first: bool) {
        let shared = &*self.0;
        if first {
            shared.since.store(shared.at(now), Ordering::Relaxed);
        }
        let room = self.room();
        if room > 0 {
            shared
                .room
                .store(room.saturating_sub(bytes), Ordering::Relaxed);
            // What a packet took along beside its datagram goes at the cost of the next ones.
            let mut budget = lock(&shared.budget);
            budget.bytes -= signed(bytes.saturating_sub(room));
        }
    }

    /// Whether an acknowledgement now of what was sent then says that the path works.
    pub(crate) fn is_recent(&self, now: Instant, sent: Instant) -> bool {
        micros(now.saturating_duration_since(sent)) <= self.0.patience.load(Ordering::Relaxed)
    }

    pub(crate) fn rtt(&self, now: Instant, rtt: Duration) {
        lock(&self.0.shortest).add(now, rtt, LATE);
        let patience = micros(PATIENCE).max(ROUND_TRIPS * micros(rtt));
        self.0.patience.store(patience, Ordering::Relaxed);
    }

    /// Another path: nothing is known of it.
    pub(crate) fn forget_rtt(&self) {
        self.0.calm_rtt.store(NOTHING, Ordering::Relaxed);
    }

    /// One round trip, from the newest packet that is acknowledged; one that is no news says how long we, or the path, stood still.
    pub(crate) fn sample(&self, sample: Duration) {
        let sample = micros(sample);
        if sample > self.0.patience.load(Ordering::Relaxed) {
            return;
        }
        let calm = match self.0.calm_rtt.load(Ordering::Relaxed) {
            NOTHING => sample,
            calm => calm - calm / SHARE + sample / SHARE,
        };
        self.0.calm_rtt.store(calm, Ordering::Relaxed);
    }

    /// The engine's round trip, unless ours knows better: RFC 9002 takes every sample, and one of a minute lasts for 20 more.
    pub(crate) fn calm(&self, rtt: u64) -> u64 {
        let calm = rtt.min(self.0.calm_rtt.load(Ordering::Relaxed));
        self.shortest_rtt()
            .map_or(rtt, |shortest| calm.max(shortest.min(rtt)))
    }

    /// So many bytes have arrived.
    pub(crate) fn delivered(&self, bytes: u64) {
        self.0.delivered.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn under_way(&self, bytes: u64) {
        self.0.in_flight.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that have arrived, and that are on their way.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        let (delivered, in_flight) = (&self.0.delivered, &self.0.in_flight);
        (
            delivered.load(Ordering::Relaxed),
            in_flight.load(Ordering::Relaxed),
        )
    }

    /// The shortest round trip of late, in microseconds.
    pub(crate) fn shortest_rtt(&self) -> Option<u64> {
        lock(&self.0.shortest).get().map(micros)
    }

    /// The path works: `in_flight` bytes are waited for from now on.
    pub(crate) fn progress(&self, now: Instant, in_flight: u64) {
        let shared = &*self.0;
        let since = if in_flight == 0 {
            NOTHING
        } else {
            shared.at(now)
        };
        shared.since.store(since, Ordering::Relaxed);
        shared.room.store(0, Ordering::Relaxed);
    }
}

impl Shared {
    fn at(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(self.start))
    }

    fn lasts_since(&self, now: Instant) -> Option<u64> {
        let since = self.since.load(Ordering::Relaxed);
        let patience = self.patience.load(Ordering::Relaxed);
        (since != NOTHING && self.at(now).saturating_sub(since) > patience).then_some(since)
    }
}

impl Budget {
    fn refill(&mut self, now: u64, silence: u64) {
        if self.silence == silence {
            let elapsed = now.saturating_sub(self.filled_at);
            let fresh = signed(elapsed.min(MICROS * 60) * TRICKLE / MICROS);
            if fresh == 0 {
                return; // too little time: it is counted with what comes
            }
            self.bytes = (self.bytes + fresh).min(signed(GRANT));
        } else {
            self.bytes = signed(GRANT);
        }
        (self.filled_at, self.silence) = (now, silence);
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(rtt_ms: u64) -> (Silence, Instant) {
        let silence = Silence::default();
        let start = Instant::now();
        silence.rtt(start, Duration::from_millis(rtt_ms));
        silence.sent(start, 1200, true);
        (silence, start)
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn there_is_room_only_after_a_second_or_three_round_trips() {
        for (rtt_ms, silent_ms) in [(20, 1000), (1000, 3000)] {
            let (silence, start) = waiting(rtt_ms);
            silence.datagram(after(start, silent_ms - 1), 100);
            assert_eq!(silence.room(), 0);
            silence.datagram(after(start, silent_ms + 1), 100);
            assert_eq!(silence.room(), 100 + OVERHEAD);
        }
    }

    #[test]
    fn a_stop_is_no_round_trip() {
        let (silence, start) = (Silence::default(), Instant::now());
        assert_eq!(silence.calm(7), 7);
        silence.rtt(start, Duration::from_millis(20));
        for ms in [20, 20, 60_000, 20] {
            silence.sample(Duration::from_millis(ms));
        }
        assert_eq!(silence.calm(7_500_000), 20_000);
        assert_eq!(silence.calm(19_000), 19_000);
        silence.forget_rtt();
        assert_eq!(silence.calm(7_500_000), 7_500_000);
    }

    #[test]
    fn the_shortest_round_trip_is_kept_until_a_longer_path_shows() {
        let (silence, start) = (Silence::default(), Instant::now());
        assert_eq!(silence.shortest_rtt(), None);
        for (at_ms, rtt_ms) in [(0, 40), (10, 20), (20, 300)] {
            silence.rtt(after(start, at_ms), Duration::from_millis(rtt_ms));
        }
        assert_eq!(silence.shortest_rtt(), Some(20_000));
        silence.rtt(after(start, 61_000), Duration::from_millis(310));
        assert_eq!(silence.shortest_rtt(), Some(310_000));
    }

    #[test]
    fn nothing_in_flight_is_no_silence() {
        let silence = Silence::default();
        silence.datagram(after(Instant::now(), 60_000), 100);
        assert_eq!(silence.room(), 0);
        let (silence, start) = waiting(20);
        silence.progress(after(start, 20), 0);
        silence.datagram(after(start, 60_000), 100);
        assert_eq!(silence.room(), 0);
    }

    #[test]
    fn one_grant_in_a_silence_and_a_trickle_after_it() {
        let (silence, start) = waiting(20);
        for _ in 0..1000 {
            silence.datagram(after(start, 5_000), 1100);
        }
        assert_eq!(silence.room(), GRANT);
        for ms in 5_000..15_000 {
            silence.datagram(after(start, ms), 1100);
        }
        let trickled = silence.room() - GRANT;
        assert!((39_000..=40_000).contains(&trickled), "{trickled}");
    }

    #[test]
    fn what_goes_along_with_a_probe_is_paid_by_the_next_ones() {
        let (silence, start) = waiting(20);
        let mut sent = 0;
        for step in 0..500 {
            silence.datagram(after(start, 2_000 + step * 20), 40);
            if silence.room() > 0 {
                silence.sent(after(start, 2_000 + step * 20), 1452, false);
                sent += 1452;
            }
        }
        assert!(sent <= GRANT + 10 * TRICKLE + 10 * 1452, "{sent}");
        assert!(sent >= GRANT);
    }

    #[test]
    fn a_probe_of_a_new_path_waits_for_no_silence() {
        let (silence, start) = waiting(20);
        silence.probe(1100);
        assert_eq!(silence.room(), 1100 + OVERHEAD);
        silence.sent(start, 1100 + OVERHEAD, false);
        assert_eq!(silence.room(), 0);
    }

    #[test]
    fn progress_takes_the_room_away_and_the_next_silence_has_its_own() {
        let (silence, start) = waiting(20);
        silence.datagram(after(start, 2_000), 20_000);
        assert_eq!(silence.room(), GRANT);
        silence.progress(after(start, 2_010), 500);
        assert_eq!(silence.room(), 0);
        silence.datagram(after(start, 2_500), 20_000);
        assert_eq!(silence.room(), 0);
        silence.datagram(after(start, 3_100), 20_000);
        assert_eq!(silence.room(), GRANT);
    }
}
