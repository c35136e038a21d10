//! The server's identity: keys that live in a signing process.

use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::quic::session::{Slot, session_id};
use crate::runtime::{lock, os_error};

/// Largest answer that is believed: two RSA-16384 signatures are 4 kB.
const ANSWER_MAX: usize = 16 * 1024;
/// An algorithm identifier is over by then.
const ALGORITHM_BYTES: usize = 40;

const OID_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const OID_RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const OID_P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// The TLS 1.3 schemes of each kind of key.
const SCHEMES: &[(&[u8], SignatureAlgorithm, &[SignatureScheme])] = &[
    (
        OID_ED25519,
        SignatureAlgorithm::ED25519,
        &[SignatureScheme::ED25519],
    ),
    (
        OID_P256,
        SignatureAlgorithm::ECDSA,
        &[SignatureScheme::ECDSA_NISTP256_SHA256],
    ),
    (
        OID_P384,
        SignatureAlgorithm::ECDSA,
        &[SignatureScheme::ECDSA_NISTP384_SHA384],
    ),
    (
        OID_P521,
        SignatureAlgorithm::ECDSA,
        &[SignatureScheme::ECDSA_NISTP521_SHA512],
    ),
    (
        OID_RSA,
        SignatureAlgorithm::RSA,
        &[
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA256,
        ],
    ),
];

#[derive(Debug)]
struct PublicKey {
    spki: Vec<u8>,
    algorithm: SignatureAlgorithm,
    schemes: &'static [SignatureScheme],
}

impl PublicKey {
    fn new(spki: Vec<u8>) -> Option<Self> {
        let head = &spki[..spki.len().min(ALGORITHM_BYTES)];
        let (_, algorithm, schemes) = SCHEMES
            .iter()
            .find(|(oid, ..)| head.windows(oid.len()).any(|window| window == *oid))?;
        Some(Self {
            spki,
            algorithm: *algorithm,
            schemes,
        })
    }
}

/// The socket (None once the signing process is gone) and the number of the next request.
#[derive(Debug)]
struct Line {
    socket: Option<OwnedFd>,
    next: u32,
}

/// The keys, and the way to the process that holds their private halves.
#[derive(Debug)]
pub(crate) struct Keys {
    keys: Vec<PublicKey>,
    line: Mutex<Line>,
    deadline: Duration,
}

impl Keys {
    /// The TLS signature and the SSH signature blob.
    fn sign(
        &self,
        index: usize,
        scheme: SignatureScheme,
        input: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let deadline = Instant::now() + self.deadline;
        let mut line = lock(&self.line);
        let number = line.next;
        line.next = number.wrapping_add(1);
        let Some(socket) = &line.socket else {
            return Err(Error::General("the signing process is gone".into()));
        };
        let mut request = Vec::with_capacity(7 + input.len());
        request.extend_from_slice(&number.to_be_bytes());
        request.push(u8::try_from(index).unwrap_or(u8::MAX));
        request.extend_from_slice(&u16::from(scheme).to_be_bytes());
        request.extend_from_slice(input);
        match ask(socket, &request, deadline) {
            Ok(answer) => {
                parse(&answer).ok_or_else(|| Error::General("the signing process refused".into()))
            }
            Err(e) => {
                if matches!(e, Errno::PIPE | Errno::CONNRESET) {
                    line.socket = None;
                }
                Err(Error::General(format!(
                    "the signing process did not answer: {e}"
                )))
            }
        }
    }
}

/// One exchange of packets. An answer that comes after its deadline is met, and dropped, by a later exchange: it fails one
/// handshake, not the server.
fn ask(socket: &OwnedFd, request: &[u8], deadline: Instant) -> rustix::io::Result<Vec<u8>> {
    loop {
        wait(socket, PollFlags::OUT, deadline)?;
        match rustix::net::send(socket, request, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => break,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => return Err(e),
        }
    }
    let mut answer = vec![0; ANSWER_MAX];
    loop {
        wait(socket, PollFlags::IN, deadline)?;
        match rustix::net::recv(socket, &mut answer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Errno::PIPE),
            Ok((n, _)) if answer[..n].get(..4) == request.get(..4) => {
                return Ok(answer[4..n].to_vec());
            }
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => return Err(e),
        }
    }
}

fn wait(socket: &OwnedFd, flags: PollFlags, deadline: Instant) -> rustix::io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(socket, flags)], Some(&timeout)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// `u16 n1, TLS signature, u16 n2, SSH signature`; None if refused or malformed.
fn parse(answer: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (tls, rest) = take(answer)?;
    let (ssh, rest) = take(rest)?;
    (!tls.is_empty() && rest.is_empty()).then(|| (tls.to_vec(), ssh.to_vec()))
}

fn take(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_at_checked(2)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// A signing process, as Python made it.
#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct Signer {
    pub(crate) keys: Arc<Keys>,
}

#[pymethods]
impl Signer {
    #[new]
    #[pyo3(signature = (public_keys, socket_fd, deadline_ms = 50))]
    fn new(public_keys: Vec<Vec<u8>>, socket_fd: RawFd, deadline_ms: u64) -> PyResult<Self> {
        if public_keys.is_empty() || public_keys.len() > usize::from(u8::MAX) {
            return Err(PyValueError::new_err("public_keys: 1 to 255 are wanted"));
        }
        let keys = public_keys
            .into_iter()
            .map(PublicKey::new)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| PyValueError::new_err("public_keys: unknown kind of key"))?;
        let socket = crate::raw::duplicate(socket_fd).map_err(os_error)?;
        let line = Mutex::new(Line {
            socket: Some(socket),
            next: 0,
        });
        let deadline = Duration::from_millis(deadline_ms);
        Ok(Self {
            keys: Arc::new(Keys {
                keys,
                line,
                deadline,
            }),
        })
    }
}

/// Chooses the key for one handshake.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) keys: Arc<Keys>,
    pub(crate) slot: Arc<Slot>,
}

impl Resolver {
    /// The client's order decides: a host that it knows by its RSA key must not look changed.
    fn choose(&self, offered: &[SignatureScheme]) -> Option<usize> {
        offered.iter().find_map(|scheme| {
            self.keys
                .keys
                .iter()
                .position(|key| key.schemes.contains(scheme))
        })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let index = self.choose(client_hello.signature_schemes())?;
        let spki = CertificateDer::from(self.keys.keys[index].spki.clone());
        let key = RemoteKey {
            keys: self.keys.clone(),
            slot: self.slot.clone(),
            index,
        };
        Some(Arc::new(CertifiedKey::new(vec![spki], Arc::new(key))))
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// Stands in an endpoint's base configuration, which only opens first packets and never answers.
#[derive(Debug)]
pub(crate) struct NoKeys;

impl ResolvesServerCert for NoKeys {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[derive(Clone, Debug)]
struct RemoteKey {
    keys: Arc<Keys>,
    slot: Arc<Slot>,
    index: usize,
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let ours = self.keys.keys[self.index].schemes;
        let scheme = *offered.iter().find(|scheme| ours.contains(scheme))?;
        Some(Box::new(RemoteSigner {
            key: self.clone(),
            scheme,
        }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.keys.keys[self.index].algorithm
    }
}

#[derive(Debug)]
struct RemoteSigner {
    key: RemoteKey,
    scheme: SignatureScheme,
}

impl rustls::sign::Signer for RemoteSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let RemoteKey { keys, slot, index } = &self.key;
        let (tls, ssh) = keys.sign(*index, self.scheme, message)?;
        slot.update(|seen| {
            seen.peer_key = keys.keys[*index].spki.clone();
            seen.host_signature = ssh;
            seen.session_id = session_id(message);
        });
        Ok(tls)
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_parsed_strictly() {
        assert_eq!(
            parse(b"\0\x01a\0\x02bc"),
            Some((b"a".to_vec(), b"bc".to_vec()))
        );
        for bad in [
            &b""[..],
            b"\0",
            b"\0\0\0\0",
            b"\0\x01a",
            b"\0\x01a\0\x02b",
            b"\0\x01a\0\0x",
        ] {
            assert_eq!(parse(bad), None);
        }
    }
}
