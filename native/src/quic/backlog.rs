//! How much a connection keeps for sending: enough for the path, little enough for memory and caches.

/// Enough for several reads of a descriptor, whatever the path.
pub(crate) const MIN: u64 = 1 << 20;
const MAX: u64 = 32 << 20;

/// Makes the connection's send window follow the congestion window.
///
/// What is written waits for its acknowledgement in memory. quinn would take all that the peer's flow control allows,
/// long before the path can carry it.
pub(crate) struct Backlog(quinn::Connection);

impl Backlog {
    pub(crate) fn new(connection: quinn::Connection) -> Self {
        Self(connection)
    }

    /// To be called now and then while much is written.
    pub(crate) fn adapt(&self) {
        self.0.set_send_window(wanted(self.0.stats().path.cwnd));
    }
}

/// Twice the congestion window: one is on its way, the next is ready when acknowledgements make room.
fn wanted(congestion_window: u64) -> u64 {
    congestion_window.clamp(MIN / 2, MAX / 2) * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_congestion_window_within_bounds() {
        assert_eq!(wanted(0), MIN);
        assert_eq!(wanted(3 << 20), 6 << 20);
        assert_eq!(wanted(u64::MAX), MAX);
    }
}
