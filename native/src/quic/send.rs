//! The sending half of a stream.
//!
//! quinn's stream wants one caller at a time. It lies in `State` while nothing runs; operations are queued, and while
//! the queue is not empty a task owns the stream. A write that fits at once needs no task.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use pyo3::prelude::*;
use quinn::VarInt;
use rustix::fs::OFlags;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::quic::backlog::Backlog;
use crate::quic::endpoint::varint;
use crate::runtime::{Engine, Ticket, Value, lock, os_error};
use crate::splice::{Interrupt, Port, Signal, from_port};

enum Op {
    Write(Ticket, Bytes),
    Finish,
    Acknowledged(Ticket),
    Give(oneshot::Sender<quinn::SendStream>),
    Splice {
        ticket: Ticket,
        port: Port,
        finish: bool,
    },
}

struct State {
    stream: Option<quinn::SendStream>,
    waiting: VecDeque<Op>,
    splices: usize,
    reset: Option<VarInt>,
    finished: bool,
}

pub(crate) struct Shared {
    engine: Engine,
    backlog: Backlog,
    id: u64,
    total: AtomicU64,
    interrupt: Interrupt,
    priority: Mutex<Option<i32>>,
    state: Mutex<State>,
}

impl Shared {
    /// Serve an operation, at once if that is possible without waiting.
    fn submit(self: &Arc<Self>, op: Op) {
        let mut state = lock(&self.state);
        let op = match (op, state.stream.as_mut()) {
            (Op::Write(ticket, data), Some(stream)) => match self.try_write(stream, data) {
                Ok(rest) if rest.is_empty() => {
                    drop(state);
                    return ticket.done(Ok(Value::None));
                }
                Ok(rest) => Op::Write(ticket, rest),
                Err(error) => {
                    drop(state);
                    return ticket.done(Err(error));
                }
            },
            (Op::Finish, Some(stream)) => {
                let _ = stream.finish();
                state.finished = true;
                return;
            }
            (op, _) => op,
        };
        state.splices += usize::from(matches!(op, Op::Splice { .. }));
        state.waiting.push_back(op);
        if let Some(stream) = state.stream.take() {
            drop(state);
            self.engine.handle.spawn(run(self.clone(), stream));
        }
    }

    /// Write what fits now; gives back the rest.
    fn try_write(&self, stream: &mut quinn::SendStream, data: Bytes) -> Result<Bytes, Error> {
        if data.is_empty() {
            return Ok(data);
        }
        let mut chunks = [data];
        let poll =
            pin!(stream.write_chunks(&mut chunks)).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(written) = poll {
            self.total
                .fetch_add(written?.bytes as u64, Ordering::Relaxed);
        }
        let [rest] = chunks;
        Ok(rest)
    }

    /// The next operation, or the stream goes back to rest.
    fn next(&self, mut stream: quinn::SendStream) -> Option<(quinn::SendStream, Op)> {
        let mut state = lock(&self.state);
        if let Some(code) = state.reset {
            let _ = stream.reset(code);
            state.finished = true;
        }
        match state.waiting.pop_front() {
            Some(op) => Some((stream, op)),
            None => {
                state.stream = Some(stream);
                None
            }
        }
    }

    fn reset(&self, code: VarInt) {
        let mut state = lock(&self.state);
        match state.stream.as_mut() {
            Some(stream) => {
                let _ = stream.reset(code);
                state.finished = true;
            }
            None => state.reset = Some(code),
        }
        drop(state);
        self.interrupt.raise(Signal::Abort);
    }

    fn cancel_splice(&self) {
        let state = lock(&self.state);
        if state.splices > 0 {
            self.interrupt.raise(Signal::Cancel);
        }
    }

    fn splice_ended(&self) {
        let mut state = lock(&self.state);
        state.splices -= 1;
        self.interrupt.clear_cancel();
    }

    pub(crate) fn splice(self: &Arc<Self>, ticket: Ticket, port: Port, finish: bool) {
        self.submit(Op::Splice {
            ticket,
            port,
            finish,
        });
    }

    /// The stream itself, once everything before is written; it is the receiver's to end. Nothing can be done with this object
    /// any more.
    pub(crate) fn give(self: &Arc<Self>) -> oneshot::Receiver<quinn::SendStream> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Op::Give(sender));
        receiver
    }

    fn apply_priority(&self, stream: &quinn::SendStream) {
        if let Some(priority) = lock(&self.priority).take() {
            let _ = stream.set_priority(priority);
        }
    }
}

/// Data that ends without finish must not look complete to the peer.
impl Drop for Shared {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.finished {
            return;
        }
        if let Some(stream) = state.stream.as_mut() {
            let _ = stream.reset(VarInt::from_u32(0));
        }
    }
}

async fn run(shared: Arc<Shared>, mut stream: quinn::SendStream) {
    while let Some((own, op)) = shared.next(stream) {
        stream = own;
        shared.apply_priority(&stream);
        match op {
            Op::Write(ticket, data) => {
                let result = write(&shared, &mut stream, data).await;
                ticket.done(result.map(|()| Value::None));
            }
            Op::Finish => finish(&shared, &mut stream),
            Op::Acknowledged(ticket) => {
                let stopped = stream.stopped();
                shared.engine.handle.spawn(async move {
                    ticket.done(match stopped.await {
                        Ok(None) => Ok(Value::None),
                        Ok(Some(code)) => Err(Error::Stopped(code.into_inner())),
                        Err(error) => Err(error.into()),
                    });
                });
            }
            Op::Give(taker) => {
                lock(&shared.state).finished = true;
                if let Err(mut stream) = taker.send(stream) {
                    let _ = stream.reset(VarInt::from_u32(0));
                }
                return;
            }
            Op::Splice {
                ticket,
                port,
                finish: then_finish,
            } => {
                let Shared {
                    engine,
                    backlog,
                    interrupt,
                    total,
                    ..
                } = &*shared;
                let threads = &engine.threads;
                let result = from_port(&mut stream, port, threads, backlog, interrupt, total).await;
                if result.is_ok() && then_finish {
                    finish(&shared, &mut stream);
                }
                shared.splice_ended();
                ticket.done(result.map(Value::Count));
            }
        }
    }
}

fn finish(shared: &Shared, stream: &mut quinn::SendStream) {
    let _ = stream.finish();
    lock(&shared.state).finished = true;
}

async fn write(shared: &Shared, stream: &mut quinn::SendStream, data: Bytes) -> Result<(), Error> {
    let mut chunks = [data];
    shared.backlog.adapt();
    while !chunks[0].is_empty() {
        let written = tokio::select! {
            biased;
            () = shared.interrupt.abort() => return Err(Error::StreamClosed),
            written = stream.write_chunks(&mut chunks) => written?,
        };
        shared
            .total
            .fetch_add(written.bytes as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// The sending half of a stream, as Python sees it.
#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct SendStream {
    pub(crate) shared: Arc<Shared>,
}

impl SendStream {
    pub(crate) fn new(
        engine: Engine,
        connection: quinn::Connection,
        stream: quinn::SendStream,
    ) -> Self {
        let id = VarInt::from(stream.id()).into_inner();
        let state = State {
            stream: Some(stream),
            waiting: VecDeque::new(),
            splices: 0,
            reset: None,
            finished: false,
        };
        Self {
            shared: Arc::new(Shared {
                engine,
                backlog: Backlog::new(connection),
                id,
                total: AtomicU64::new(0),
                interrupt: Interrupt::default(),
                priority: Mutex::new(None),
                state: Mutex::new(state),
            }),
        }
    }
}

#[pymethods]
impl SendStream {
    #[getter]
    fn id(&self) -> u64 {
        self.shared.id
    }

    #[getter]
    fn total(&self) -> u64 {
        self.shared.total.load(Ordering::Relaxed)
    }

    fn set_priority(&self, py: Python<'_>, priority: i32) {
        py.detach(|| {
            let state = lock(&self.shared.state);
            match state.stream.as_ref() {
                Some(stream) => drop(stream.set_priority(priority)),
                None => *lock(&self.shared.priority) = Some(priority),
            }
        });
    }

    fn write(&self, py: Python<'_>, token: u64, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        let ticket = self.shared.engine.ticket(token);
        py.detach(|| self.shared.submit(Op::Write(ticket, data)));
    }

    fn finish(&self, py: Python<'_>) {
        py.detach(|| self.shared.submit(Op::Finish));
    }

    fn reset(&self, py: Python<'_>, code: u64) -> PyResult<()> {
        let code = varint("code", code)?;
        py.detach(|| self.shared.reset(code));
        Ok(())
    }

    fn acknowledged(&self, py: Python<'_>, token: u64) {
        let ticket = self.shared.engine.ticket(token);
        py.detach(|| self.shared.submit(Op::Acknowledged(ticket)));
    }

    #[pyo3(signature = (token, fd, *, shared = false, finish = true))]
    fn splice_from(
        &self,
        py: Python<'_>,
        token: u64,
        fd: RawFd,
        shared: bool,
        finish: bool,
    ) -> PyResult<()> {
        let fd = crate::raw::adopt(fd).map_err(os_error)?;
        py.detach(|| {
            let port = Port::new(fd, shared, OFlags::RDONLY).map_err(os_error)?;
            self.shared
                .splice(self.shared.engine.ticket(token), port, finish);
            Ok(())
        })
    }

    fn cancel_splice(&self, py: Python<'_>) {
        py.detach(|| self.shared.cancel_splice());
    }
}
