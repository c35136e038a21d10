//! Ending an operation that runs on a stream, from outside.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

const CANCEL: u8 = 1;
const ABORT: u8 = 2;

/// What the running operation is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// End the splice in good order.
    Cancel,
    /// The stream is reset or stopped: end at once.
    Abort,
}

/// A flag that can be waited for.
#[derive(Default)]
pub(crate) struct Interrupt {
    flags: AtomicU8,
    changed: Notify,
}

impl Interrupt {
    pub(crate) fn raise(&self, signal: Signal) {
        let bit = match signal {
            Signal::Cancel => CANCEL,
            Signal::Abort => ABORT,
        };
        self.flags.fetch_or(bit, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Forget a cancellation: it was meant for the splice that has ended.
    pub(crate) fn clear_cancel(&self) {
        self.flags.fetch_and(!CANCEL, Ordering::SeqCst);
    }

    fn look(&self) -> Option<Signal> {
        match self.flags.load(Ordering::SeqCst) {
            0 => None,
            f if f & ABORT != 0 => Some(Signal::Abort),
            _ => Some(Signal::Cancel),
        }
    }

    pub(crate) async fn any(&self) -> Signal {
        loop {
            let changed = self.changed.notified();
            if let Some(signal) = self.look() {
                return signal;
            }
            changed.await;
        }
    }

    pub(crate) async fn abort(&self) {
        loop {
            let changed = self.changed.notified();
            if self.look() == Some(Signal::Abort) {
                return;
            }
            changed.await;
        }
    }
}
