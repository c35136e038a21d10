//! Cubic, with a window that opens for good when the connection is being closed.
//!
//! quinn holds CONNECTION_CLOSE back like any packet while the congestion window is full, and in a closing connection
//! nothing is acknowledged that would make room: the peer would never be told. (Seen in quinn-proto 0.11.19: closing while
//! an MTU probe or bulk data was in flight; `poll_transmit` asks `ack_eliciting`, which pending data set, before `close`.)

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

/// Larger than quinn's pacer heeds, small enough to be added to.
const OPEN: u64 = 1 << 40;

/// Set before a connection is closed: by itself, or with its whole endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closing {
    own: Arc<AtomicBool>,
    endpoint: Arc<AtomicBool>,
}

impl Closing {
    /// For a new connection of the same endpoint.
    pub(crate) fn another(&self) -> Self {
        Self {
            own: Arc::default(),
            endpoint: self.endpoint.clone(),
        }
    }

    pub(crate) fn connection_closes(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    pub(crate) fn endpoint_closes(&self) {
        self.endpoint.store(true, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.own.load(Ordering::Relaxed) || self.endpoint.load(Ordering::Relaxed)
    }
}

pub(crate) struct Factory {
    pub(crate) closing: Closing,
    pub(crate) inner: Arc<CubicConfig>,
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = self.inner.clone().build(now, current_mtu);
        Box::new(Closable {
            inner,
            closing: self.closing.clone(),
        })
    }
}

struct Closable {
    inner: Box<dyn Controller>,
    closing: Closing,
}

impl Controller for Closable {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.closing.is_set() {
            OPEN
        } else {
            self.inner.window()
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            closing: self.closing.clone(),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.inner.into_any()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_opens_with_either_flag_and_in_copies() {
        let base = Closing::default();
        let (a, b) = (base.another(), base.another());
        let build = |closing: &Closing| {
            let factory = Factory {
                closing: closing.clone(),
                inner: Arc::default(),
            };
            Arc::new(factory).build(Instant::now(), 1200)
        };
        let (first, second) = (build(&a), build(&b).clone_box());
        a.connection_closes();
        assert_eq!(first.window(), OPEN);
        assert!(second.window() < OPEN);
        base.endpoint_closes();
        assert_eq!(second.window(), OPEN);
    }
}
