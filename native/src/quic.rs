//! QUIC: endpoints, connections, streams, and the TLS identity of qsh/1.

pub(crate) mod address;
pub(crate) mod backlog;
pub(crate) mod config;
pub(crate) mod congestion;
pub(crate) mod connection;
pub(crate) mod connection_ids;
pub(crate) mod endpoint;
pub(crate) mod flow;
pub(crate) mod handshake_proof;
pub(crate) mod incoming;
pub(crate) mod keylog;
pub(crate) mod login_packets;
pub(crate) mod packet_stream;
pub(crate) mod path_news;
pub(crate) mod proven;
pub(crate) mod recv;
pub(crate) mod send;
pub(crate) mod session;
pub(crate) mod signer;
pub(crate) mod silence;
pub(crate) mod udp;
pub(crate) mod verifier;

/// The protocol's name in the TLS handshake.
pub(crate) const ALPN: &[u8] = b"qsh/1";
