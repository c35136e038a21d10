//! One socket and its connections.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use quinn::TokioRuntime;
use quinn::VarInt;

use crate::error::Error;
use crate::quic::address;
use crate::quic::config::{self, ClientRequest, Limits, PersistentKeys, ServerParts};
use crate::quic::congestion::{Closing, Congestion};
use crate::quic::connection::{Connection, Handshake};
use crate::quic::incoming::Incoming;
use crate::quic::packet_stream::{Carrier, Descriptors, Side};
use crate::quic::proven::ProvenAt;
use crate::quic::session::Slot;
use crate::runtime::{Engine, Runtime, Value, lock, os_error};

/// The shortest persistent key: as long as the hash that uses it.
const KEY_BYTES: usize = 32;

#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct Endpoint {
    engine: Engine,
    inner: quinn::Endpoint,
    carrier: Mutex<Carrier>,
    limits: Limits,
    server: Option<Arc<ServerParts>>,
    handshake: Duration,
    closing: Closing,
}

pub(crate) fn varint(name: &str, value: u64) -> PyResult<VarInt> {
    VarInt::from_u64(value).map_err(|_| PyValueError::new_err(format!("{name} is too large")))
}

fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{name} is not a length of time")))
}

fn setup(error: Error) -> PyErr {
    PyRuntimeError::new_err(error.parts().2)
}

/// The caller's socket, or its stream to `peer`. Inside the runtime.
fn carrier(
    fd: RawFd,
    peer: Option<(String, u16)>,
    write_fd: Option<RawFd>,
    noise: usize,
    streams: bool,
    login: Option<Side>,
) -> PyResult<Carrier> {
    let Some((host, port)) = peer else {
        let socket = crate::raw::duplicate(fd)
            .map(UdpSocket::from)
            .map_err(os_error)?;
        return Ok(Carrier::udp(socket, streams, login)?);
    };
    let fds = Descriptors {
        read: fd,
        write: write_fd.unwrap_or(fd),
    };
    Ok(Carrier::stream(&fds, literal(&host, port)?, noise)?)
}

fn literal(host: &str, port: u16) -> PyResult<SocketAddr> {
    address::parse(host, port)
        .ok_or_else(|| PyValueError::new_err(format!("not an IP address: {host:?}")))
}

#[pymethods]
impl Endpoint {
    #[new]
    #[pyo3(signature = (
        runtime, socket_fd, *, server, reset_key = None, token_key = None, idle_s = 900.0, keep_alive_s = 0.0,
        initial_rtt_ms = 100.0, handshake_s = 30.0, bidi_streams = 1024, uni_streams = 1024,
        stream_window = 8_388_608, connection_window = 33_554_432, max_incoming = 1024, congestion = "own",
        peer = None, write_fd = None, noise = 0, streams = false,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        runtime: &Runtime,
        socket_fd: RawFd,
        server: bool,
        reset_key: Option<Vec<u8>>,
        token_key: Option<Vec<u8>>,
        idle_s: f64,
        keep_alive_s: f64,
        initial_rtt_ms: f64,
        handshake_s: f64,
        bidi_streams: u64,
        uni_streams: u64,
        stream_window: u64,
        connection_window: u64,
        max_incoming: usize,
        congestion: &str,
        peer: Option<(String, u16)>,
        write_fd: Option<RawFd>,
        noise: usize,
        streams: bool,
    ) -> PyResult<Self> {
        if [&reset_key, &token_key]
            .into_iter()
            .flatten()
            .any(|key| key.len() < KEY_BYTES)
        {
            return Err(PyValueError::new_err(
                "reset_key, token_key: 32 bytes or more are wanted",
            ));
        }
        let keep_alive = duration("keep_alive_s", keep_alive_s)?;
        let limits = Limits {
            idle: duration("idle_s", idle_s)?,
            keep_alive: (!keep_alive.is_zero()).then_some(keep_alive),
            initial_rtt: duration("initial_rtt_ms", initial_rtt_ms / 1000.0)?,
            bidi_streams: varint("bidi_streams", bidi_streams)?,
            uni_streams: varint("uni_streams", uni_streams)?,
            stream_window: varint("stream_window", stream_window)?,
            connection_window: varint("connection_window", connection_window)?,
            congestion: Congestion::named(congestion)
                .ok_or_else(|| PyValueError::new_err("congestion is own or cubic"))?,
        };
        let handshake = duration("handshake_s", handshake_s)?;
        let engine = runtime.engine.clone();
        let side = if server { Side::Server } else { Side::Client };
        py.detach(|| {
            let keys = PersistentKeys {
                reset: reset_key.as_deref(),
                token: token_key.as_deref(),
            };
            let server = if server {
                Some(Arc::new(
                    ServerParts::new(limits.clone(), &keys, max_incoming).map_err(setup)?,
                ))
            } else {
                None
            };
            let base = server
                .as_ref()
                .map(|parts| parts.base())
                .transpose()
                .map_err(setup)?;
            let config = config::endpoint(&keys).map_err(setup)?;
            let _context = engine.handle.enter();
            let carrier = carrier(socket_fd, peer, write_fd, noise, streams, Some(side))?;
            let socket = carrier.socket.clone();
            let tokio = Arc::new(TokioRuntime);
            let inner = quinn::Endpoint::new_with_abstract_socket(config, base, socket, tokio)?;
            drop(_context);
            Ok(Self {
                engine,
                inner,
                carrier: Mutex::new(carrier),
                limits,
                server,
                handshake,
                closing: Closing::default(),
            })
        })
    }

    fn local_address(&self) -> PyResult<(String, u16)> {
        Ok(address::show(self.inner.local_addr()?))
    }

    #[pyo3(signature = (
        token, host, port, *, server_name, schemes, trusted, revoked, key_log = None, qlog = None, timeout_s = None,
        largest = None,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn connect(
        &self,
        token: u64,
        host: &str,
        port: u16,
        server_name: String,
        schemes: Vec<u16>,
        trusted: Vec<Vec<u8>>,
        revoked: Vec<Vec<u8>>,
        key_log: Option<String>,
        qlog: Option<String>,
        timeout_s: Option<f64>,
        largest: Option<u16>,
    ) -> PyResult<()> {
        let remote = literal(host, port)?;
        if largest.is_some_and(|largest| largest < address::PAYLOAD_MIN) {
            return Err(PyValueError::new_err("largest is less than QUIC needs"));
        }
        if schemes.is_empty() {
            return Err(PyValueError::new_err("schemes is empty"));
        }
        let timeout = timeout_s.map_or(Ok(self.handshake), |s| duration("timeout_s", s))?;
        let request = ClientRequest {
            schemes,
            trusted,
            revoked,
            key_log,
            qlog,
        };
        let (engine, endpoint) = (self.engine.clone(), self.inner.clone());
        let limits = self.limits.clone();
        let closing = self.closing.another();
        self.engine.complete(token, async move {
            let slot = Arc::new(Slot::default());
            let largest = largest.unwrap_or_else(|| address::largest_payload(remote));
            let config = config::client(request, &limits, slot.clone(), largest, closing.clone())?;
            let connecting = endpoint.connect_with(config, remote, &server_name)?;
            let outcome = match tokio::time::timeout(timeout, connecting).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => return Err(Error::Timeout),
            };
            let seen = slot.seen();
            match outcome {
                Ok(inner) => {
                    let done = Handshake::finished();
                    Ok(Value::Connection(Box::new(Connection::new(
                        engine,
                        inner,
                        seen,
                        done,
                        closing,
                        ProvenAt::default(),
                        largest,
                    ))))
                }
                Err(_) if seen.revoked => Err(Error::HostKeyRevoked),
                Err(e) => Err(e.into()),
            }
        });
        Ok(())
    }

    fn send_again(&self, py: Python<'_>) {
        py.detach(|| {
            let login = lock(&self.carrier).login.clone();
            if let Some(login) = login {
                let _context = self.engine.handle.enter();
                login.again();
            }
        });
    }

    fn login_over(&self, py: Python<'_>) {
        py.detach(|| {
            if let Some(login) = lock(&self.carrier).login.take() {
                login.settle();
            }
        });
    }

    fn accept(&self, token: u64) {
        let (engine, endpoint) = (self.engine.clone(), self.inner.clone());
        let (server, handshake) = (self.server.clone(), self.handshake);
        let closing = self.closing.another();
        let (streams, proven) = {
            let carrier = lock(&self.carrier);
            (carrier.streams.clone(), carrier.proven.clone())
        };
        self.engine.complete(token, async move {
            let Some(parts) = server else {
                return Err(Error::Setup("not a server endpoint".into()));
            };
            Ok(match endpoint.accept().await {
                Some(inner) => Value::Incoming(Box::new(Incoming::new(
                    engine, inner, parts, handshake, closing, streams, proven,
                ))),
                None => Value::None,
            })
        });
    }

    #[pyo3(signature = (socket_fd, *, peer = None, write_fd = None, noise = 0))]
    fn rebind(
        &self,
        py: Python<'_>,
        socket_fd: RawFd,
        peer: Option<(String, u16)>,
        write_fd: Option<RawFd>,
        noise: usize,
    ) -> PyResult<()> {
        py.detach(|| {
            let _context = self.engine.handle.enter();
            let carrier = carrier(socket_fd, peer, write_fd, noise, false, None)?;
            self.inner.rebind_abstract(carrier.socket.clone())?;
            *lock(&self.carrier) = carrier;
            Ok(())
        })
    }

    #[pyo3(signature = (token, fd, host, port, *, write_fd = None))]
    fn add_stream(
        &self,
        py: Python<'_>,
        token: u64,
        fd: RawFd,
        host: &str,
        port: u16,
        write_fd: Option<RawFd>,
    ) -> PyResult<()> {
        let peer = literal(host, port)?;
        let fds = Descriptors {
            read: fd,
            write: write_fd.unwrap_or(fd),
        };
        py.detach(|| {
            let streams = {
                let carrier = lock(&self.carrier);
                carrier.streams.clone().filter(|_| carrier.beside)
            };
            let streams =
                streams.ok_or_else(|| PyValueError::new_err("an endpoint without streams"))?;
            let _context = self.engine.handle.enter();
            let end = streams.add(&fds, peer)?;
            self.engine
                .complete(token, async move { Ok(Value::StreamEnd(end.await)) });
            Ok(())
        })
    }

    fn close_stream(&self, py: Python<'_>, number: u32) {
        py.detach(|| {
            let streams = lock(&self.carrier).streams.clone();
            if let Some(streams) = streams {
                streams.close(number);
            }
        });
    }

    fn keep_streams(&self, py: Python<'_>, numbers: HashSet<u32>) {
        py.detach(|| {
            let streams = lock(&self.carrier).streams.clone();
            if let Some(streams) = streams {
                streams.keep(&numbers);
            }
        });
    }

    fn open_streams(&self, py: Python<'_>) -> usize {
        py.detach(|| {
            lock(&self.carrier)
                .streams
                .as_ref()
                .map_or(0, |streams| streams.count())
        })
    }

    fn stream_ended(&self, token: u64) {
        let end = lock(&self.carrier).end();
        self.engine.complete(token, async move {
            match end {
                Some(end) => Ok(Value::StreamEnd(end.await)),
                None => Err(Error::Setup(
                    "an endpoint without a stream of its own".into(),
                )),
            }
        });
    }

    fn open_connections(&self, py: Python<'_>) -> usize {
        py.detach(|| self.inner.open_connections())
    }

    fn withheld(&self, py: Python<'_>) -> u64 {
        py.detach(|| {
            lock(&self.carrier)
                .proven
                .as_ref()
                .map_or(0, |proven| proven.withheld())
        })
    }

    #[pyo3(signature = (code = 0, reason = None))]
    fn close(&self, py: Python<'_>, code: u64, reason: Option<&[u8]>) -> PyResult<()> {
        let code = varint("code", code)?;
        py.detach(|| {
            self.closing.endpoint_closes();
            self.inner.close(code, reason.unwrap_or_default());
            if let Some(streams) = lock(&self.carrier).streams.clone() {
                let endpoint = self.inner.clone();
                self.engine.handle.spawn(async move {
                    endpoint.wait_idle().await;
                    streams.close_all();
                });
            }
        });
        Ok(())
    }

    fn wait_idle(&self, token: u64) {
        let endpoint = self.inner.clone();
        self.engine.complete(token, async move {
            endpoint.wait_idle().await;
            Ok(Value::None)
        });
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.closing.endpoint_closes();
        self.inner.close(VarInt::from_u32(0), b"");
    }
}
