//! The receiving half of a stream; built like the sending half.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use pyo3::prelude::*;
use quinn::VarInt;
use rustix::fs::OFlags;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::quic::endpoint::varint;
use crate::runtime::{Engine, Ticket, Value, lock, os_error};
use crate::splice::{Interrupt, Port, Signal, to_port};

/// Chunks of the stream that one read gathers: each is what one packet brought.
const GATHER: usize = 48;

enum Op {
    Read(Ticket, usize),
    Splice(Ticket, Port),
    Give(oneshot::Sender<Half>),
}

/// The stream, and what a cancelled splice had taken from it but not written.
pub(crate) struct Half {
    pub(crate) stream: quinn::RecvStream,
    pub(crate) pending: VecDeque<Bytes>,
}

struct State {
    half: Option<Half>,
    waiting: VecDeque<Op>,
    splices: usize,
    stop: Option<VarInt>,
    /// To be read again, put here while the half was still in the hands of the read that had taken it.
    unread: Bytes,
}

pub(crate) struct Shared {
    engine: Engine,
    id: u64,
    total: Arc<AtomicU64>,
    interrupt: Interrupt,
    state: Mutex<State>,
}

impl Shared {
    fn submit(self: &Arc<Self>, op: Op) {
        let mut state = lock(&self.state);
        let op = match (op, state.half.as_mut()) {
            (Op::Read(ticket, max), Some(half)) => {
                let poll = pin!(self.read(half, max)).poll(&mut Context::from_waker(Waker::noop()));
                match poll {
                    Poll::Ready(result) => {
                        drop(state);
                        return ticket.done(result);
                    }
                    Poll::Pending => Op::Read(ticket, max),
                }
            }
            (op, _) => op,
        };
        state.splices += usize::from(matches!(op, Op::Splice(..)));
        state.waiting.push_back(op);
        if let Some(half) = state.half.take() {
            drop(state);
            self.engine.handle.spawn(run(self.clone(), half));
        }
    }

    async fn read(&self, half: &mut Half, max: usize) -> Result<Value, Error> {
        if half.pending.is_empty() {
            let mut slots = [const { Bytes::new() }; GATHER];
            if let Some(count) = half.stream.read_chunks(&mut slots).await? {
                half.pending.extend(slots.into_iter().take(count));
            }
        }
        let data = take(&mut half.pending, max);
        self.total.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(Value::Bytes(data))
    }

    fn next(&self, mut half: Half) -> Option<(Half, Op)> {
        let mut state = lock(&self.state);
        half.put_back(std::mem::take(&mut state.unread));
        if let Some(code) = state.stop.take() {
            half.stop(code);
        }
        match state.waiting.pop_front() {
            Some(op) => Some((half, op)),
            None => {
                state.half = Some(half);
                None
            }
        }
    }

    fn unread(&self, data: Bytes) {
        self.total.fetch_sub(data.len() as u64, Ordering::Relaxed);
        let mut state = lock(&self.state);
        match state.half.as_mut() {
            Some(half) => half.put_back(data),
            None => state.unread = data,
        }
    }

    fn stop(&self, code: VarInt) {
        let mut state = lock(&self.state);
        match state.half.as_mut() {
            Some(half) => half.stop(code),
            None => state.stop = Some(code),
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

    pub(crate) fn splice(self: &Arc<Self>, ticket: Ticket, port: Port) {
        self.submit(Op::Splice(ticket, port));
    }

    /// The stream itself, once everything before is done. Nothing can be done with this object any more.
    pub(crate) fn give(self: &Arc<Self>) -> oneshot::Receiver<Half> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Op::Give(sender));
        receiver
    }
}

impl Half {
    fn put_back(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.pending.push_front(data);
        }
    }

    fn stop(&mut self, code: VarInt) {
        let _ = self.stream.stop(code);
        self.pending.clear();
    }
}

/// Up to `max` bytes from the front, copied only if they lie in several chunks.
fn take(pending: &mut VecDeque<Bytes>, max: usize) -> Bytes {
    let single = match pending.front_mut() {
        None => return Bytes::new(),
        Some(front) if front.len() > max => return front.split_to(max),
        Some(front) => front.len() == max,
    };
    if single || pending.len() == 1 {
        return pending.pop_front().unwrap_or_default();
    }
    let mut data = BytesMut::with_capacity(pending.iter().map(Bytes::len).sum::<usize>().min(max));
    while let Some(front) = pending.front_mut() {
        let room = max - data.len();
        if front.len() > room {
            data.extend_from_slice(&front.split_to(room));
            break;
        }
        data.extend_from_slice(front);
        pending.pop_front();
    }
    data.freeze()
}

async fn run(shared: Arc<Shared>, mut half: Half) {
    while let Some((own, op)) = shared.next(half) {
        half = own;
        match op {
            Op::Read(ticket, max) => {
                let result = tokio::select! {
                    biased;
                    () = shared.interrupt.abort() => Err(Error::StreamClosed),
                    result = shared.read(&mut half, max) => result,
                };
                ticket.done(result);
            }
            Op::Give(taker) => {
                let _ = taker.send(half);
                return;
            }
            Op::Splice(ticket, port) => {
                let Shared {
                    engine,
                    interrupt,
                    total,
                    ..
                } = &*shared;
                let Half { stream, pending } = &mut half;
                let result =
                    to_port(stream, pending, port, &engine.threads, interrupt, total).await;
                if matches!(
                    result,
                    Err(Error::DescriptorClosed(_) | Error::DescriptorFailed(_))
                ) {
                    half.stop(VarInt::from_u32(0));
                }
                shared.splice_ended();
                ticket.done(result.map(Value::Count));
            }
        }
    }
}

/// The receiving half of a stream, as Python sees it.
#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct RecvStream {
    pub(crate) shared: Arc<Shared>,
}

impl RecvStream {
    pub(crate) fn new(engine: Engine, stream: quinn::RecvStream) -> Self {
        let id = VarInt::from(stream.id()).into_inner();
        let half = Half {
            stream,
            pending: VecDeque::new(),
        };
        let state = State {
            half: Some(half),
            waiting: VecDeque::new(),
            splices: 0,
            stop: None,
            unread: Bytes::new(),
        };
        Self {
            shared: Arc::new(Shared {
                engine,
                id,
                total: Arc::default(),
                interrupt: Interrupt::default(),
                state: Mutex::new(state),
            }),
        }
    }
}

#[pymethods]
impl RecvStream {
    #[getter]
    fn id(&self) -> u64 {
        self.shared.id
    }

    #[getter]
    fn total(&self) -> u64 {
        self.shared.total.load(Ordering::Relaxed)
    }

    #[pyo3(signature = (token, max_bytes = 65536))]
    fn read(&self, py: Python<'_>, token: u64, max_bytes: usize) {
        let ticket = self.shared.engine.ticket(token);
        py.detach(|| self.shared.submit(Op::Read(ticket, max_bytes.max(1))));
    }

    fn unread(&self, data: &[u8]) {
        self.shared.unread(Bytes::copy_from_slice(data));
    }

    fn stop(&self, py: Python<'_>, code: u64) -> PyResult<()> {
        let code = varint("code", code)?;
        py.detach(|| self.shared.stop(code));
        Ok(())
    }

    #[pyo3(signature = (token, fd, *, shared = false))]
    fn splice_to(&self, py: Python<'_>, token: u64, fd: RawFd, shared: bool) -> PyResult<()> {
        let fd = crate::raw::adopt(fd).map_err(os_error)?;
        py.detach(|| {
            let port = Port::new(fd, shared, OFlags::WRONLY).map_err(os_error)?;
            self.shared.splice(self.shared.engine.ticket(token), port);
            Ok(())
        })
    }

    fn cancel_splice(&self, py: Python<'_>) {
        py.detach(|| self.shared.cancel_splice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_gathers_chunks_up_to_the_limit() {
        let mut pending: VecDeque<Bytes> = ["abc", "de", "", "fgh", "i"]
            .iter()
            .map(|text| Bytes::from_static(text.as_bytes()))
            .collect();
        assert_eq!(take(&mut pending, 2), "ab");
        assert_eq!(take(&mut pending, 4), "cdef");
        assert_eq!(take(&mut pending, 100), "ghi");
        assert_eq!(take(&mut pending, 100), "");
    }
}
