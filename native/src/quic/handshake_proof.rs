//! Whether the peer of a server has shown that it receives where its handshake comes from: by its first packet under the handshake's
//! keys (RFC 9000 8.1), which nobody has who did not get our first flight.
//!
//! quinn knows it and does not tell. That its Finished has arrived comes later, and is told beside the connection's end: a client
//! that leaves together with its Finished, or says goodbye instead of it, would have proven nothing. So the keys are looked over.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use quinn::crypto::{
    CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig,
    Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError};

/// Of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof(Arc<AtomicBool>);

impl Proof {
    pub(crate) fn given(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A configuration for one connection.
pub(crate) struct Overlooked<C> {
    pub(crate) inner: Arc<C>,
    pub(crate) proof: Proof,
}

impl<C: ServerConfig> ServerConfig for Overlooked<C> {
    fn initial_keys(&self, version: u32, id: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.inner.initial_keys(version, id)
    }

    fn retry_tag(&self, version: u32, id: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.inner.retry_tag(version, id, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        parameters: &TransportParameters,
    ) -> Box<dyn Session> {
        Box::new(OverlookedSession {
            inner: self.inner.clone().start_session(version, parameters),
            proof: Some(self.proof.clone()),
        })
    }
}

struct OverlookedSession {
    inner: Box<dyn Session>,
    /// Until the first keys have it, which are the handshake's.
    proof: Option<Proof>,
}

impl Session for OverlookedSession {
    fn initial_keys(&self, id: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(id, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, data: &[u8]) -> Result<bool, TransportError> {
        self.inner.read_handshake(data)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, data: &mut Vec<u8>) -> Option<Keys> {
        let mut keys = self.inner.write_handshake(data)?;
        if let Some(proof) = self.proof.take() {
            keys.packet.remote = Box::new(ProvingKey {
                inner: keys.packet.remote,
                proof,
            });
        }
        Some(keys)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, id: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(id, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

/// Opens the peer's packets of the handshake.
struct ProvingKey {
    inner: Box<dyn PacketKey>,
    proof: Proof,
}

impl PacketKey for ProvingKey {
    fn encrypt(&self, packet: u64, data: &mut [u8], header: usize) {
        self.inner.encrypt(packet, data, header);
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.inner.decrypt(packet, header, payload)?;
        self.proof.0.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        self.inner.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.inner.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.inner.integrity_limit()
    }
}
