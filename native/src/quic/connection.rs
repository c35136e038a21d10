//! One connection: streams, datagrams, statistics, its end.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::watch;

use crate::error::Error;
use crate::quic::address;
use crate::quic::congestion::Closing;
use crate::quic::endpoint::varint;
use crate::quic::flow::{Flows, Refusal};
use crate::quic::handshake_proof::Proof;
use crate::quic::packet_stream;
use crate::quic::path_news::PathNews;
use crate::quic::proven::ProvenAt;
use crate::quic::recv::RecvStream;
use crate::quic::send::SendStream;
use crate::quic::session::Seen;
use crate::quic::udp;
use crate::runtime::{Engine, Value, os_error};

/// How long `flushed` waits at most, and how often it looks.
const FLUSH_MAX: Duration = Duration::from_millis(100);
const FLUSH_STEP: Duration = Duration::from_millis(1);

/// What is known of the peer's part.
pub(crate) struct Handshake {
    /// Its Finished has arrived.
    done: watch::Receiver<bool>,
    /// It had shown that it receives where it is, before there was a connection.
    validated: bool,
    proof: Proof,
}

impl Handshake {
    pub(crate) fn finished() -> Self {
        Self {
            done: watch::channel(true).1,
            validated: false,
            proof: Proof::default(),
        }
    }

    /// On a server. `accepted` also ends when the connection is lost: whoever waits looks at that first.
    pub(crate) fn watch(
        engine: &Engine,
        accepted: quinn::ZeroRttAccepted,
        validated: bool,
        proof: Proof,
    ) -> Self {
        let (sender, done) = watch::channel(false);
        engine.handle.spawn(async move {
            accepted.await;
            let _ = sender.send(true);
        });
        Self {
            done,
            validated,
            proof,
        }
    }

    pub(crate) fn receiver(&self) -> watch::Receiver<bool> {
        self.done.clone()
    }
}

#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct Connection {
    pub(crate) engine: Engine,
    pub(crate) inner: quinn::Connection,
    seen: Seen,
    handshake: Handshake,
    closing: Closing,
    /// Of a server.
    proven_at: ProvenAt,
    pub(crate) flows: Arc<Flows>,
    path_news: Arc<PathNews>,
    /// Datagrams sent when `close` was called.
    sent_at_close: AtomicU64,
    /// What the search for the path's MTU does not go beyond.
    largest: u16,
}

impl Connection {
    pub(crate) fn new(
        engine: Engine,
        inner: quinn::Connection,
        seen: Seen,
        handshake: Handshake,
        closing: Closing,
        proven_at: ProvenAt,
        largest: u16,
    ) -> Self {
        Self {
            engine,
            inner,
            seen,
            handshake,
            flows: Arc::new(Flows::new(closing.silence.clone())),
            path_news: Arc::default(),
            closing,
            proven_at,
            sent_at_close: AtomicU64::new(u64::MAX),
            largest,
        }
    }
}

#[pymethods]
impl Connection {
    #[getter]
    fn session_id(&self) -> &[u8] {
        &self.seen.session_id
    }

    #[getter]
    fn first_id(&self) -> &[u8] {
        &self.seen.connection_id
    }

    #[getter]
    fn host_signature(&self) -> &[u8] {
        &self.seen.host_signature
    }

    #[getter]
    fn peer_key(&self) -> &[u8] {
        &self.seen.peer_key
    }

    #[getter]
    fn peer_key_trusted(&self) -> bool {
        self.seen.trusted
    }

    #[getter]
    fn remote_address(&self, py: Python<'_>) -> (String, u16) {
        address::show(py.detach(|| self.inner.remote_address()))
    }

    #[getter]
    fn proven_address(&self, py: Python<'_>) -> Option<(String, u16)> {
        let address = py.detach(|| self.inner.remote_address());
        self.proven_at
            .is_at(address)
            .then(|| address::show(address))
    }

    #[getter]
    fn address_validated(&self) -> bool {
        self.handshake.validated || self.handshake.proof.given()
    }

    #[getter]
    fn on_stream(&self, py: Python<'_>) -> u32 {
        packet_stream::stream_number(py.detach(|| self.inner.remote_address()))
    }

    #[getter]
    fn local_ip(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.inner.local_ip())
            .map(|ip| ip.to_canonical().to_string())
    }

    #[getter]
    fn ids_retired(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.inner.stats().frame_rx.retire_connection_id)
    }

    #[getter]
    fn movements(&self, py: Python<'_>) -> u64 {
        self.closing.paths_made() + self.ids_retired(py)
    }

    fn handshake_done(&self, token: u64) {
        let mut done = self.handshake.receiver();
        let connection = self.inner.clone();
        self.engine.complete(token, async move {
            tokio::select! {
                biased;
                error = connection.closed() => Err(error.into()),
                Ok(_) = done.wait_for(|done| *done) => Ok(Value::None),
            }
        });
    }

    fn open_bi(&self, token: u64) {
        let (engine, connection) = (self.engine.clone(), self.inner.clone());
        self.engine.complete(token, async move {
            let (send, recv) = connection.open_bi().await?;
            Ok(bi(engine, connection, send, recv))
        });
    }

    fn open_uni(&self, token: u64) {
        let (engine, connection) = (self.engine.clone(), self.inner.clone());
        self.engine.complete(token, async move {
            let send = connection.open_uni().await?;
            Ok(Value::Send(SendStream::new(engine, connection, send)))
        });
    }

    fn accept_bi(&self, token: u64) {
        let (engine, connection) = (self.engine.clone(), self.inner.clone());
        self.engine.complete(token, async move {
            let (send, recv) = connection.accept_bi().await?;
            Ok(bi(engine, connection, send, recv))
        });
    }

    fn accept_uni(&self, token: u64) {
        let (engine, connection) = (self.engine.clone(), self.inner.clone());
        self.engine.complete(token, async move {
            Ok(Value::Recv(RecvStream::new(
                engine,
                connection.accept_uni().await?,
            )))
        });
    }

    /// A lost connection is reported by `closed`, not here.
    fn send_datagram(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        let data = Bytes::copy_from_slice(data);
        let sent = py.detach(|| {
            self.closing.silence.datagram(Instant::now(), data.len());
            self.inner.send_datagram(data)
        });
        match sent {
            Ok(()) | Err(quinn::SendDatagramError::ConnectionLost(_)) => Ok(()),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
    }

    /// As `send_datagram`, whatever is in flight.
    fn probe_path(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        self.closing.silence.probe(data.len());
        self.send_datagram(py, data)
    }

    /// quinn tells of a new path only to the congestion controller.
    fn path_changed(&self, token: u64) {
        let connection = self.inner.clone();
        let mut paths = self.closing.paths();
        self.engine.complete(token, async move {
            tokio::select! {
                biased;
                error = connection.closed() => Err(error.into()),
                Ok(()) = paths.changed() => Ok(Value::None),
            }
        });
    }

    fn read_datagram(&self, token: u64) {
        let (connection, flows) = (self.inner.clone(), self.flows.clone());
        flows.leave_rest();
        self.engine.complete(token, async move {
            Ok(Value::Bytes(flows.next_of_rest(&connection).await?))
        });
    }

    fn splice_flow(&self, py: Python<'_>, token: u64, flow: u64, fd: RawFd) -> PyResult<()> {
        let fd = crate::raw::adopt(fd).map_err(os_error)?;
        let number = varint("flow", flow)?;
        py.detach(|| {
            self.flows
                .splice(&self.engine, &self.inner, token, number, fd)
                .map_err(refused)
        })
    }

    #[pyo3(signature = (token, flow, fd, send, recv, *, by_stream = 65_535, idle_s = 0.0))]
    #[allow(clippy::too_many_arguments)]
    fn splice_udp(
        &self,
        py: Python<'_>,
        token: u64,
        flow: u64,
        fd: RawFd,
        send: &SendStream,
        recv: &RecvStream,
        by_stream: usize,
        idle_s: f64,
    ) -> PyResult<()> {
        let fd = crate::raw::adopt(fd).map_err(os_error)?;
        py.detach(|| udp::splice(self, token, flow, fd, send, recv, by_stream, idle_s))
    }

    fn end_flow(&self, py: Python<'_>, flow: u64) {
        py.detach(|| self.flows.end(flow));
    }

    fn flow_drops(&self) -> (u64, u64) {
        self.flows.dropped()
    }

    fn flow_activity(&self, token: u64) {
        let (connection, flows) = (self.inner.clone(), self.flows.clone());
        self.engine.complete(token, async move {
            tokio::select! {
                biased;
                error = connection.closed() => Err(error.into()),
                () = flows.activity() => Ok(Value::None),
            }
        });
    }

    #[pyo3(signature = (token, *, first))]
    fn path_news(&self, token: u64, first: bool) {
        let (connection, flows) = (self.inner.clone(), self.flows.clone());
        let (path, silence) = (self.path_news.clone(), self.closing.silence.clone());
        let turn = path.begin(first);
        self.engine.complete(token, async move {
            tokio::select! {
                biased;
                error = connection.closed() => Err(error.into()),
                news = path.next(turn, &connection, &silence, &flows) => {
                    Ok(news.map_or(Value::None, Value::Path))
                }
            }
        });
    }

    fn max_datagram_size(&self, py: Python<'_>) -> Option<usize> {
        py.detach(|| self.inner.max_datagram_size())
    }

    #[pyo3(signature = (*, bidi_streams, uni_streams, connection_window))]
    fn set_limits(
        &self,
        py: Python<'_>,
        bidi_streams: u64,
        uni_streams: u64,
        connection_window: u64,
    ) -> PyResult<()> {
        let bidi_streams = varint("bidi_streams", bidi_streams)?;
        let uni_streams = varint("uni_streams", uni_streams)?;
        let connection_window = varint("connection_window", connection_window)?;
        py.detach(|| {
            self.inner.set_max_concurrent_bi_streams(bidi_streams);
            self.inner.set_max_concurrent_uni_streams(uni_streams);
            self.inner.set_receive_window(connection_window);
        });
        Ok(())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.inner.stats());
        let path = stats.path;
        let dict = PyDict::new(py);
        let silence = &self.closing.silence;
        let rtt_us = silence.calm(u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX));
        let (delivered, in_flight) = silence.traffic();
        for (name, value) in [
            ("rtt_us", rtt_us),
            (
                "shortest_rtt_us",
                // The average leaves out what the peer waited before it answered; a sample may not.
                silence.shortest_rtt().map_or(rtt_us, |rtt| rtt.min(rtt_us)),
            ),
            ("delivered_bytes", delivered),
            ("in_flight", in_flight),
            ("waits", u64::from(self.closing.silence.waits())),
            ("path_challenges", stats.frame_rx.path_challenge),
            ("cwnd", path.cwnd),
            ("mtu", u64::from(path.current_mtu)),
            ("mtu_limit", u64::from(self.largest)),
            ("lost_packets", path.lost_packets),
            ("sent_packets", path.sent_packets),
            ("sent_bytes", stats.udp_tx.bytes),
            ("received_packets", stats.udp_rx.datagrams),
            ("received_bytes", stats.udp_rx.bytes),
            ("congestion_events", path.congestion_events),
            ("black_holes", path.black_holes_detected),
        ] {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    fn close(&self, py: Python<'_>, code: u64, reason: &[u8]) -> PyResult<()> {
        let code = varint("code", code)?;
        py.detach(|| {
            let sent = self.inner.stats().udp_tx.datagrams;
            self.sent_at_close.store(sent, Ordering::Relaxed);
            self.closing.connection_closes();
            self.inner.close(code, reason);
        });
        Ok(())
    }

    fn flushed(&self, token: u64) {
        let connection = self.inner.clone();
        let before = self.sent_at_close.load(Ordering::Relaxed);
        self.engine.complete(token, async move {
            let deadline = tokio::time::Instant::now() + FLUSH_MAX;
            // quinn does not say when it has sent; but it counts and sends under one lock, and sends nothing else once closed.
            while connection.stats().udp_tx.datagrams <= before
                && tokio::time::Instant::now() < deadline
            {
                tokio::time::sleep(FLUSH_STEP).await;
            }
            Ok(Value::None)
        });
    }

    fn closed(&self, token: u64) {
        let connection = self.inner.clone();
        self.engine.complete(token, async move {
            Ok(Value::Closed(
                Error::from(connection.closed().await).parts(),
            ))
        });
    }
}

pub(crate) fn refused(refusal: Refusal) -> PyErr {
    match refusal {
        Refusal::Taken => PyValueError::new_err("the flow is spliced already"),
        Refusal::NotDatagrams => PyValueError::new_err("not a datagram socket of this kind"),
        Refusal::Descriptor(errno) => os_error(errno),
    }
}

fn bi(
    engine: Engine,
    connection: quinn::Connection,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
) -> Value {
    Value::Bi(
        SendStream::new(engine.clone(), connection, send),
        RecvStream::new(engine, recv),
    )
}

/// Nobody can close it any more, so it is closed now; streams and waiting calls end with it.
impl Drop for Connection {
    fn drop(&mut self) {
        self.closing.connection_closes();
        self.inner.close(quinn::VarInt::from_u32(0), b"");
    }
}
