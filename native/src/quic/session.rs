//! The session id, and the slot in which the TLS callbacks of one handshake leave what they saw.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use tokio::sync::Notify;

/// Domain separation: no other signature starts like this.
const PREFIX: &[u8] = b"qsh/1 session\0";

/// `PREFIX` + SHA-256 of the TLS 1.3 CertificateVerify input, which covers both key shares.
pub(crate) fn session_id(verify_input: &[u8]) -> Vec<u8> {
    let mut id = PREFIX.to_vec();
    id.extend_from_slice(digest::digest(&digest::SHA256, verify_input).as_ref());
    id
}

/// What one handshake revealed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) session_id: Vec<u8>,
    pub(crate) peer_key: Vec<u8>,
    pub(crate) host_signature: Vec<u8>,
    pub(crate) trusted: bool,
    pub(crate) revoked: bool,
    pub(crate) connection_id: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Slot {
    seen: Mutex<Seen>,
    filled: Notify,
}

impl Slot {
    pub(crate) fn update(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.filled.notify_waiters();
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Completes when the session id is known.
    pub(crate) async fn signed(&self) -> Seen {
        loop {
            let filled = self.filled.notified();
            let seen = self.seen();
            if !seen.session_id.is_empty() {
                return seen;
            }
            filled.await;
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn session_id_has_46_bytes() {
        let id = super::session_id(b"input");
        assert_eq!(id.len(), 46);
        assert!(id.starts_with(b"qsh/1 session\0"));
    }
}
