//! A first packet that was not answered yet.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Error;
use crate::quic::address;
use crate::quic::config::ServerParts;
use crate::quic::congestion::Closing;
use crate::quic::connection::{Connection, Handshake};
use crate::quic::connection_ids::first_of;
use crate::quic::handshake_proof::Proof;
use crate::quic::packet_stream::{self, Streams};
use crate::quic::proven::{self, Proven, ProvenAt};
use crate::quic::session::Slot;
use crate::quic::signer::Signer;
use crate::runtime::{Engine, Value, lock};

#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct Incoming {
    engine: Engine,
    inner: Mutex<Option<quinn::Incoming>>,
    parts: Arc<ServerParts>,
    handshake: Duration,
    closing: Closing,
    streams: Option<Arc<Streams>>,
    proven: Option<Arc<Proven>>,
    remote: std::net::SocketAddr,
    validated: bool,
}

impl Incoming {
    pub(crate) fn new(
        engine: Engine,
        inner: quinn::Incoming,
        parts: Arc<ServerParts>,
        handshake: Duration,
        closing: Closing,
        streams: Option<Arc<Streams>>,
        proven: Option<Arc<Proven>>,
    ) -> Self {
        let (remote, validated) = (inner.remote_address(), inner.remote_address_validated());
        Self {
            engine,
            inner: Mutex::new(Some(inner)),
            parts,
            handshake,
            closing,
            streams,
            proven,
            remote,
            validated,
        }
    }

    fn take(&self) -> PyResult<quinn::Incoming> {
        lock(&self.inner)
            .take()
            .ok_or_else(|| PyValueError::new_err("the incoming connection was already answered"))
    }
}

#[pymethods]
impl Incoming {
    #[getter]
    fn remote_address(&self) -> (String, u16) {
        address::show(self.remote)
    }

    /// A stream's peer receives at its address, and its mark would not survive a token.
    #[getter]
    fn address_validated(&self) -> bool {
        self.validated || self.stream() != 0
    }

    #[getter]
    fn stream(&self) -> u32 {
        packet_stream::stream_number(self.remote)
    }

    fn accept(&self, token: u64, signer: &Signer) -> PyResult<()> {
        let incoming = self.take()?;
        let (engine, parts) = (self.engine.clone(), self.parts.clone());
        let (keys, timeout, remote) = (signer.keys.clone(), self.handshake, self.remote);
        let (closing, proven) = (self.closing.clone(), self.proven.clone());
        let validated = self.address_validated();
        if let Some(streams) = &self.streams {
            streams.carries(remote);
        }
        self.engine.complete(token, async move {
            let (slot, proof) = (Arc::new(Slot::default()), Proof::default());
            let largest = address::largest_payload(remote);
            let config =
                parts.connection(keys, slot.clone(), largest, closing.clone(), proof.clone())?;
            let (connecting, connection_id) = first_of(|| incoming.accept_with(Arc::new(config)));
            let connecting = connecting?;
            let Ok((inner, accepted)) = connecting.into_0rtt() else {
                return Err(Error::Setup("no 0.5-RTT".into()));
            };
            // Dropping the connection, also by returning an error here, closes it.
            // What was signed first: who has left since then may have proven more than one who never was there.
            let mut seen = tokio::select! {
                biased;
                seen = slot.signed() => seen,
                error = inner.closed() => return Err(error.into()),
                () = tokio::time::sleep(timeout) => return Err(Error::Timeout),
            };
            seen.connection_id = connection_id;
            let done = Handshake::watch(&engine, accepted, validated, proof);
            let at = ProvenAt::default();
            if let Some(proven) = proven {
                let paths = closing.paths();
                let watching =
                    proven::watch(proven, inner.clone(), done.receiver(), paths, at.clone());
                engine.handle.spawn(watching);
            }
            Ok(Value::Connection(Box::new(Connection::new(
                engine, inner, seen, done, closing, at, largest,
            ))))
        });
        Ok(())
    }

    fn retry(&self, py: Python<'_>) -> PyResult<bool> {
        if self.stream() != 0 {
            return Ok(false);
        }
        py.detach(|| {
            let incoming = self.take()?;
            match incoming.retry() {
                Ok(()) => Ok(true),
                Err(error) => {
                    *lock(&self.inner) = Some(error.into_incoming());
                    Ok(false)
                }
            }
        })
    }

    fn refuse(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            self.take()?.refuse();
            Ok(())
        })
    }

    fn ignore(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            self.take()?.ignore();
            Ok(())
        })
    }
}
