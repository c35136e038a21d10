//! tokio's threads, the completion queue and its wake-up descriptor.
//!
//! Native threads push Rust values and never take the GIL; Python objects are made when Python drains the queue.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyNone, PyTuple};
use rustix::event::{EventfdFlags, eventfd};

use crate::error::{Error, Parts};
use crate::quic::{address, connection, incoming, packet_stream, path_news, recv, send, udp};
use crate::splice::threads::Threads;

const MAX_WORKERS: usize = 64;

/// Lock that outlives a panicking holder: its data are plain values, valid after any of their updates.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn os_error(error: rustix::io::Errno) -> PyErr {
    PyOSError::new_err((error.raw_os_error(), error.to_string()))
}

/// What a completion carries, before it is a Python object.
pub(crate) enum Value {
    None,
    Count(u64),
    Path(path_news::News),
    Bytes(Bytes),
    Closed(Parts),
    FlowEnd(Box<udp::End>),
    StreamEnd(packet_stream::End),
    Peer(Box<udp::NewPeer>),
    Incoming(Box<incoming::Incoming>),
    Connection(Box<connection::Connection>),
    Bi(send::SendStream, recv::RecvStream),
    Send(send::SendStream),
    Recv(recv::RecvStream),
}

impl Value {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::None => py.None(),
            Self::Count(n) => n.into_pyobject(py)?.into_any().unbind(),
            Self::Path(x) => (x.rtt, x.loss_ppm, x.window)
                .into_pyobject(py)?
                .into_any()
                .unbind(),
            Self::Bytes(data) => PyBytes::new(py, &data).into_any().unbind(),
            Self::Closed(parts) => parts.into_pyobject(py)?.into_any().unbind(),
            Self::FlowEnd(x) => (x.why, x.code, x.sent, x.received, x.dropped)
                .into_pyobject(py)?
                .into_any()
                .unbind(),
            Self::StreamEnd(x) => (x.why, PyBytes::new(py, &x.head))
                .into_pyobject(py)?
                .into_any()
                .unbind(),
            Self::Peer(x) => {
                let (host, port) = address::show(x.address);
                (x.id, host, port, PyBytes::new(py, &x.header))
                    .into_pyobject(py)?
                    .into_any()
                    .unbind()
            }
            Self::Incoming(x) => Py::new(py, *x)?.into_any(),
            Self::Connection(x) => Py::new(py, *x)?.into_any(),
            Self::Bi(s, r) => (Py::new(py, s)?, Py::new(py, r)?)
                .into_pyobject(py)?
                .into_any()
                .unbind(),
            Self::Send(x) => Py::new(py, x)?.into_any(),
            Self::Recv(x) => Py::new(py, x)?.into_any(),
        })
    }
}

type Completion = (u64, Result<Value, Error>);

/// Completions on their way to Python.
pub(crate) struct Queue {
    waiting: Mutex<Vec<Completion>>,
    wake: OwnedFd,
}

impl Queue {
    /// Written only when the queue was empty: one wake-up for many completions.
    fn push(&self, completion: Completion) {
        let mut waiting = lock(&self.waiting);
        waiting.push(completion);
        if waiting.len() == 1 {
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    fn take(&self) -> Vec<Completion> {
        let mut waiting = lock(&self.waiting);
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
        std::mem::take(&mut waiting)
    }
}

/// The duty to complete one token, exactly once: a ticket that is dropped completes as `closed-locally`.
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    token: Option<u64>,
}

impl Ticket {
    pub(crate) fn done(mut self, result: Result<Value, Error>) {
        if let Some(token) = self.token.take() {
            self.queue.push((token, result));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.queue.push((token, Err(Error::ClosedLocally)));
        }
    }
}

/// What every object of the engine shares.
#[derive(Clone)]
pub(crate) struct Engine {
    queue: Arc<Queue>,
    pub(crate) handle: tokio::runtime::Handle,
    pub(crate) threads: Arc<Threads>,
}

/// The token of a call whose result nobody waits for: it wakes nobody.
const UNHEARD: u64 = u64::MAX;

impl Engine {
    pub(crate) fn ticket(&self, token: u64) -> Ticket {
        Ticket {
            queue: self.queue.clone(),
            token: (token != UNHEARD).then_some(token),
        }
    }

    /// A ticket whose result nobody waits for.
    pub(crate) fn unheard(&self) -> Ticket {
        Ticket {
            queue: self.queue.clone(),
            token: None,
        }
    }

    /// Run a future whose result completes the token.
    pub(crate) fn complete<F>(&self, token: u64, future: F)
    where
        F: Future<Output = Result<Value, Error>> + Send + 'static,
    {
        let ticket = self.ticket(token);
        self.handle.spawn(async move { ticket.done(future.await) });
    }
}

/// tokio's threads and the completion queue.
#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct Runtime {
    tokio: Mutex<Option<tokio::runtime::Runtime>>,
    pub(crate) engine: Engine,
}

#[pymethods]
impl Runtime {
    #[new]
    #[pyo3(signature = (worker_threads = 1))]
    fn new(py: Python<'_>, worker_threads: usize) -> PyResult<Self> {
        if !(1..=MAX_WORKERS).contains(&worker_threads) {
            return Err(PyValueError::new_err("worker_threads is not in 1..64"));
        }
        py.detach(|| {
            let wake =
                eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(os_error)?;
            let tokio = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(worker_threads)
                .thread_name("qsh-engine")
                .enable_io()
                .enable_time()
                .build()?;
            let engine = Engine {
                queue: Arc::new(Queue {
                    waiting: Mutex::default(),
                    wake,
                }),
                handle: tokio.handle().clone(),
                threads: Arc::new(Threads::new().map_err(os_error)?),
            };
            Ok(Self {
                tokio: Mutex::new(Some(tokio)),
                engine,
            })
        })
    }

    fn fileno(&self) -> RawFd {
        self.engine.queue.wake.as_raw_fd()
    }

    fn completions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let taken = py.detach(|| self.engine.queue.take());
        let list = PyList::empty(py);
        for (token, result) in taken {
            let none = || PyNone::get(py).to_owned().into_any().unbind();
            let (value, error) = match result {
                Ok(value) => (value.into_python(py)?, none()),
                Err(error) => (none(), error.parts().into_pyobject(py)?.into_any().unbind()),
            };
            let token = token.into_pyobject(py)?.into_any().unbind();
            list.append(PyTuple::new(py, [token, value, error])?)?;
        }
        Ok(list)
    }

    #[pyo3(signature = (timeout_ms = 1000))]
    fn close(&self, py: Python<'_>, timeout_ms: u64) -> bool {
        py.detach(|| {
            let deadline = Instant::now() + Duration::from_millis(timeout_ms);
            let Some(tokio) = lock(&self.tokio).take() else {
                return true;
            };
            self.engine.threads.cancel();
            tokio.shutdown_timeout(Duration::from_millis(timeout_ms));
            self.engine.threads.join(deadline) && Instant::now() < deadline
        })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.engine.threads.cancel();
        if let Some(tokio) = lock(&self.tokio).take() {
            tokio.shutdown_background();
        }
    }
}
