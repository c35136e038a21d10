//! quinn's and rustls's settings.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{digest, hkdf, hmac};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
};
use rustls::SignatureScheme;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;

use crate::error::Error;
use crate::quic::ALPN;
use crate::quic::backlog;
use crate::quic::congestion::{Closing, Congestion, Factory};
use crate::quic::connection_ids::Generator;
use crate::quic::handshake_proof::{Overlooked, Proof};
use crate::quic::keylog::{KeyLogFile, open_private};
use crate::quic::session::Slot;
use crate::quic::signer::{Keys, NoKeys, Resolver};
use crate::quic::verifier::Verifier;

/// UDP's largest payload over IPv6.
const UDP_PAYLOAD_MAX: u16 = 65_527;
/// Datagrams waiting in either direction, in bytes; beyond that the oldest are dropped, as befits what is worth nothing when
/// it is late. Not less: it is also the largest datagram that is taken.
pub(crate) const DATAGRAM_BYTES: usize = 1 << 16;
/// Packets that the peer may receive before it must acknowledge.
const ACK_EVERY: u32 = 10;
/// Longest delay of an acknowledgement: quinn's default, kept so that a lone keystroke's RTT stays honest.
const ACK_DELAY: Duration = Duration::from_millis(25);
/// Steps that the search for the MTU takes at most before it is content: 2^10 of them fit between the bounds.
const MTU_STEPS: u16 = 256;
/// Jumbo frames: no link but loopback takes more. Each probe is as large as what it looks for, and each login has a search beside
/// it: to find 65,507 bytes in small steps took 460 kB each way and half of the engine's time. Half the way at once, then all of
/// it, is enough.
const MTU_OF_LINKS: u16 = 9_216;
/// quinn's, of a path that nothing is known of.
const INITIAL_MTU: u16 = 1200;
/// quinn's smallest useful step.
const MTU_CHANGE_MIN: u16 = 20;

/// quinn hands ten packets at once to the kernel, which takes 65,507 bytes and drops what is larger (and quinn then
/// believes in a black hole); packets larger than this are worth a system call each.
const GSO_PAYLOAD_MAX: u16 = 6550;

/// The step at which the search for the MTU ends; it tries the bound itself if that is a step away.
fn mtu_change(largest_payload: u16) -> u16 {
    if largest_payload > MTU_OF_LINKS {
        (largest_payload - INITIAL_MTU) / 2
    } else {
        (largest_payload / MTU_STEPS).max(MTU_CHANGE_MIN)
    }
}

/// What an endpoint's connections start with.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) idle: Duration,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) initial_rtt: Duration,
    pub(crate) bidi_streams: VarInt,
    pub(crate) uni_streams: VarInt,
    pub(crate) stream_window: VarInt,
    pub(crate) connection_window: VarInt,
    pub(crate) congestion: Congestion,
}

impl Limits {
    pub(crate) fn transport(&self, largest_payload: u16, closing: Closing) -> TransportConfig {
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(largest_payload)
            .minimum_change(mtu_change(largest_payload));
        let mut acks = AckFrequencyConfig::default();
        acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY))
            .max_ack_delay(Some(ACK_DELAY));
        let mut config = TransportConfig::default();
        config
            .max_idle_timeout(IdleTimeout::try_from(self.idle).ok())
            .keep_alive_interval(self.keep_alive)
            .initial_rtt(self.initial_rtt)
            .max_concurrent_bidi_streams(self.bidi_streams)
            .max_concurrent_uni_streams(self.uni_streams)
            .stream_receive_window(self.stream_window)
            .receive_window(self.connection_window)
            .send_window(backlog::MIN)
            .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
            .datagram_send_buffer_size(DATAGRAM_BYTES)
            .mtu_discovery_config(Some(mtu))
            .ack_frequency_config(Some(acks))
            .enable_segmentation_offload(largest_payload <= GSO_PAYLOAD_MAX)
            .congestion_controller_factory(Arc::new(Factory {
                closing,
                inner: self.congestion,
            }))
            .allow_spin(false);
        config
    }
}

/// Keys that outlive the process, so that its successor can answer for it.
pub(crate) struct PersistentKeys<'a> {
    pub(crate) reset: Option<&'a [u8]>,
    pub(crate) token: Option<&'a [u8]>,
}

fn random() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Setup("no random bytes".into()))?;
    Ok(bytes)
}

/// Between two stateless resets: nothing. quinn takes the time once for all packets that it finds waiting, so any interval leaves
/// one reset for what the clients of a front that ended have sent until there is another; most then ask seconds later.
/// A reset is shorter than what asks for it, so a flood gets no more than it sends.
const RESET_INTERVAL: Duration = Duration::ZERO;

pub(crate) fn endpoint(keys: &PersistentKeys<'_>) -> Result<EndpointConfig, Error> {
    let secret = match keys.reset {
        Some(key) => key.to_vec(),
        None => random()?.to_vec(),
    };
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret)));
    config
        .max_udp_payload_size(UDP_PAYLOAD_MAX)
        .map_err(|e| Error::Setup(e.to_string()))?;
    config.min_reset_interval(RESET_INTERVAL);
    // A successor must recognize our connection ids, so their key hangs on the reset key.
    let hash = digest::digest(
        &digest::SHA256,
        &[b"qsh connection ids", &secret[..]].concat(),
    );
    let mut seed = [0; 8];
    seed.copy_from_slice(&hash.as_ref()[..8]);
    let seed = u64::from_be_bytes(seed);
    config.cid_generator(move || Box::new(Generator::from_key(seed)));
    Ok(config)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn no_initial(error: NoInitialCipherSuite) -> Error {
    Error::Setup(error.to_string())
}

/// What makes a server configuration per connection: 20 to 40 µs each.
#[derive(Clone)]
pub(crate) struct ServerParts {
    provider: Arc<CryptoProvider>,
    token_key: Arc<hkdf::Prk>,
    limits: Limits,
    max_incoming: usize,
}

impl ServerParts {
    pub(crate) fn new(
        limits: Limits,
        keys: &PersistentKeys<'_>,
        max_incoming: usize,
    ) -> Result<Self, Error> {
        let secret = match keys.token {
            Some(key) => key.to_vec(),
            None => random()?.to_vec(),
        };
        let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"qsh address tokens").extract(&secret);
        Ok(Self {
            provider: provider(),
            token_key: Arc::new(token_key),
            limits,
            max_incoming,
        })
    }

    fn build(
        &self,
        resolver: Arc<dyn rustls::server::ResolvesServerCert>,
        largest_payload: u16,
        closing: Closing,
        proof: Proof,
    ) -> Result<quinn::ServerConfig, Error> {
        let mut tls = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        let crypto = Arc::new(Overlooked {
            inner: Arc::new(QuicServerConfig::try_from(tls).map_err(no_initial)?),
            proof,
        });
        let mut config = quinn::ServerConfig::new(crypto, self.token_key.clone());
        config
            .transport_config(Arc::new(self.limits.transport(largest_payload, closing)))
            .max_incoming(self.max_incoming);
        Ok(config)
    }

    /// For the endpoint, which opens first packets and answers with Retry.
    pub(crate) fn base(&self) -> Result<quinn::ServerConfig, Error> {
        self.build(
            Arc::new(NoKeys),
            UDP_PAYLOAD_MAX,
            Closing::default(),
            Proof::default(),
        )
    }

    pub(crate) fn connection(
        &self,
        keys: Arc<Keys>,
        slot: Arc<Slot>,
        largest_payload: u16,
        closing: Closing,
        proof: Proof,
    ) -> Result<quinn::ServerConfig, Error> {
        let resolver = Arc::new(Resolver { keys, slot });
        self.build(resolver, largest_payload, closing, proof)
    }
}

/// What one outgoing connection asks of its server.
pub(crate) struct ClientRequest {
    pub(crate) schemes: Vec<u16>,
    pub(crate) trusted: Vec<Vec<u8>>,
    pub(crate) revoked: Vec<Vec<u8>>,
    pub(crate) key_log: Option<String>,
    pub(crate) qlog: Option<String>,
}

pub(crate) fn client(
    request: ClientRequest,
    limits: &Limits,
    slot: Arc<Slot>,
    largest_payload: u16,
    closing: Closing,
) -> Result<quinn::ClientConfig, Error> {
    let provider = provider();
    let verifier = Verifier {
        slot,
        schemes: request
            .schemes
            .into_iter()
            .map(SignatureScheme::from)
            .collect(),
        trusted: request.trusted.into_iter().collect(),
        revoked: request.revoked.into_iter().collect(),
        algorithms: provider.signature_verification_algorithms,
    };
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    if let Some(path) = &request.key_log {
        let file = KeyLogFile::open(path).map_err(|e| log_error(path, &e))?;
        tls.key_log = Arc::new(file);
    }
    let crypto = Arc::new(QuicClientConfig::try_from(tls).map_err(no_initial)?);
    let mut transport = limits.transport(largest_payload, closing);
    if let Some(path) = &request.qlog {
        let file = open_private(path).map_err(|e| log_error(path, &e))?;
        let mut log = quinn::QlogConfig::default();
        log.writer(Box::new(file)).title(Some("qsh".into()));
        transport.qlog_stream(log.into_stream());
    }
    let mut config = quinn::ClientConfig::new(crypto);
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn log_error(path: &str, error: &std::io::Error) -> Error {
    Error::Setup(format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_for_an_mtu_is_fine_on_a_link_and_short_on_loopback() {
        assert_eq!(mtu_change(1472), MTU_CHANGE_MIN);
        assert_eq!(mtu_change(8972), 35);
        let loopback = mtu_change(16_384);
        let half = INITIAL_MTU + (16_384 - INITIAL_MTU) / 2;
        assert!(half - INITIAL_MTU >= loopback, "half the way is tried");
        assert!(16_384 - half >= loopback, "and then the bound");
    }
}
