//! The connection ids that an endpoint gives itself, and the first of each connection.

use std::cell::Cell;
use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator, InvalidCid};

thread_local! {
    static LATEST: Cell<Option<ConnectionId>> = const { Cell::new(None) };
}

/// quinn's, whose successors know them again.
pub(crate) struct Generator(HashedConnectionIdGenerator);

impl Generator {
    pub(crate) fn from_key(key: u64) -> Self {
        Self(HashedConnectionIdGenerator::from_key(key))
    }
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let made = self.0.generate_cid();
        LATEST.set(Some(made));
        made
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        self.0.validate(cid)
    }

    fn cid_len(&self) -> usize {
        self.0.cid_len()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        self.0.cid_lifetime()
    }
}

/// What `accept` returns, and the id that the connection which it made is known by until its peer changes that: the only one that is
/// made in it, since others wait for the end of the handshake. quinn does not tell.
pub(crate) fn first_of<T>(accept: impl FnOnce() -> T) -> (T, Vec<u8>) {
    LATEST.set(None);
    let accepted = accept();
    let id = LATEST.take().map_or_else(Vec::new, |id| id.to_vec());
    (accepted, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_that_was_made_meanwhile_is_told() {
        let mut generator = Generator::from_key(1);
        generator.generate_cid();
        let (made, id) = first_of(|| generator.generate_cid());
        assert_eq!(&made[..], &id[..]);
        assert!(generator.validate(&made).is_ok());
        assert_eq!(first_of(|| ()).1, Vec::<u8>::new());
    }
}
