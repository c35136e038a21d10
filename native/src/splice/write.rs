//! Stream → descriptor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::event::PollFlags;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::splice::port::MAX_SLICES;
use crate::splice::threads::{Leave, Threads};
use crate::splice::{Interrupt, Port, Signal};

/// Batches that wait for a thread which writes.
const AHEAD: usize = 2;
/// How long a cancelled splice waits for a thread that is caught in a blocking write.
const STUCK: Duration = Duration::from_millis(100);

/// Copy until the end of the stream, then shut the descriptor down and close it. Returns the number of bytes copied.
///
/// What was taken from the stream but not written stays in `pending`.
pub(crate) async fn to_port(
    stream: &mut quinn::RecvStream,
    pending: &mut VecDeque<Bytes>,
    port: Port,
    threads: &Threads,
    interrupt: &Interrupt,
    total: &Arc<AtomicU64>,
) -> Result<u64, Error> {
    let before = total.load(Ordering::Relaxed);
    let result = if port.needs_thread() {
        threaded(stream, pending, port, threads, interrupt, total).await
    } else {
        polled(stream, pending, port, interrupt, total).await
    };
    result.map(|()| total.load(Ordering::Relaxed) - before)
}

fn interrupted(signal: Signal) -> Error {
    match signal {
        Signal::Cancel => Error::Cancelled,
        Signal::Abort => Error::StreamClosed,
    }
}

/// The next chunks of the stream, None at its end.
async fn fill(
    stream: &mut quinn::RecvStream,
    slots: &mut [Bytes],
    interrupt: &Interrupt,
) -> Result<Option<usize>, Error> {
    tokio::select! {
        biased;
        signal = interrupt.any() => Err(interrupted(signal)),
        count = stream.read_chunks(slots) => Ok(count?),
    }
}

async fn polled(
    stream: &mut quinn::RecvStream,
    pending: &mut VecDeque<Bytes>,
    port: Port,
    interrupt: &Interrupt,
    total: &AtomicU64,
) -> Result<(), Error> {
    let sink = Sink::open(port)?;
    let mut slots = vec![Bytes::new(); MAX_SLICES];
    loop {
        while !pending.is_empty() {
            tokio::select! {
                biased;
                signal = interrupt.any() => return Err(interrupted(signal)),
                result = sink.write_some(pending, total) => result?,
            }
        }
        match fill(stream, &mut slots, interrupt).await? {
            Some(count) => pending.extend(slots[..count].iter_mut().map(std::mem::take)),
            None => break,
        }
    }
    sink.port().shutdown_write();
    Ok(())
}

enum Sink {
    Watched(AsyncFd<Port>),
    Ready(Port),
}

impl Sink {
    fn open(port: Port) -> Result<Self, Error> {
        if port.never_blocks() {
            return Ok(Self::Ready(port));
        }
        Ok(Self::Watched(crate::raw::watch(port, Interest::WRITABLE)?))
    }

    fn port(&self) -> &Port {
        match self {
            Self::Watched(fd) => fd.get_ref(),
            Self::Ready(port) => port,
        }
    }

    async fn write_some(
        &self,
        pending: &mut VecDeque<Bytes>,
        total: &AtomicU64,
    ) -> Result<(), Error> {
        let written = self.write(pending.make_contiguous()).await?;
        consume(pending, written);
        total.fetch_add(written as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn write(&self, buffers: &[Bytes]) -> Result<usize, Error> {
        let fd = match self {
            Self::Watched(fd) => fd,
            Self::Ready(port) => return Ok(port.write(buffers)?),
        };
        loop {
            let mut ready = fd.writable().await?;
            let result =
                ready.try_io(|fd| fd.get_ref().write(buffers).map_err(std::io::Error::from));
            match result {
                Err(_would_block) => {}
                Ok(Err(e)) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(result) => return Ok(result?),
            }
        }
    }
}

/// Drop what was written from the front.
fn consume(pending: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = pending.front_mut() {
        if front.len() > written {
            front.advance(written);
            return;
        }
        written -= front.len();
        pending.pop_front();
    }
}

/// How a writing thread ended, and what it did not write.
type Outcome = (rustix::io::Result<()>, VecDeque<Bytes>);

async fn threaded(
    stream: &mut quinn::RecvStream,
    pending: &mut VecDeque<Bytes>,
    port: Port,
    threads: &Threads,
    interrupt: &Interrupt,
    total: &Arc<AtomicU64>,
) -> Result<(), Error> {
    let leave = threads.leave()?;
    let (batches, incoming) = mpsc::channel(AHEAD);
    let (ended, mut outcome) = oneshot::channel::<Outcome>();
    {
        let (leave, total) = (leave.clone(), total.clone());
        threads.spawn(move || {
            let _ = ended.send(write_in_thread(&port, &leave, incoming, &total));
        })?;
    }
    let leave = OnDrop(leave);
    let fed = feed(stream, pending, &batches, interrupt).await;
    drop(batches);
    // Whatever ended the stream, what came before it is still to be written, unless we were interrupted.
    let (fed, (written, rest)) = tokio::select! {
        biased;
        outcome = &mut outcome => (fed, or_vanished(outcome)),
        signal = interrupt.any() => {
            leave.0.signal();
            (Err(interrupted(signal)), ended_or_stuck(outcome).await)
        }
    };
    put_back(pending, rest);
    written?;
    fed
}

fn put_back(pending: &mut VecDeque<Bytes>, rest: VecDeque<Bytes>) {
    for chunk in rest.into_iter().rev() {
        pending.push_front(chunk);
    }
}

async fn ended_or_stuck(outcome: oneshot::Receiver<Outcome>) -> Outcome {
    match tokio::time::timeout(STUCK, outcome).await {
        Ok(outcome) => or_vanished(outcome),
        Err(_) => (Ok(()), VecDeque::new()),
    }
}

/// A thread that went without a word panicked: an I/O error as far as the splice is concerned.
fn or_vanished(outcome: Result<Outcome, oneshot::error::RecvError>) -> Outcome {
    outcome.unwrap_or_else(|_| (Err(Errno::IO), VecDeque::new()))
}

struct OnDrop(Leave);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.signal();
    }
}

/// Hand batches to the thread until the stream or the thread ends.
async fn feed(
    stream: &mut quinn::RecvStream,
    pending: &mut VecDeque<Bytes>,
    batches: &mpsc::Sender<VecDeque<Bytes>>,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    let mut slots = vec![Bytes::new(); MAX_SLICES];
    loop {
        if !pending.is_empty() {
            let permit = tokio::select! {
                biased;
                signal = interrupt.any() => return Err(interrupted(signal)),
                permit = batches.reserve() => permit,
            };
            match permit {
                Ok(permit) => permit.send(std::mem::take(pending)),
                Err(_ended) => return Ok(()),
            }
        }
        let count = tokio::select! {
            biased;
            () = batches.closed() => return Ok(()),
            count = fill(stream, &mut slots, interrupt) => count?,
        };
        match count {
            Some(count) => pending.extend(slots[..count].iter_mut().map(std::mem::take)),
            None => return Ok(()),
        }
    }
}

fn write_in_thread(
    port: &Port,
    leave: &Leave,
    mut batches: mpsc::Receiver<VecDeque<Bytes>>,
    total: &AtomicU64,
) -> Outcome {
    let mut pending = VecDeque::new();
    let mut result = Ok(());
    while let Some(batch) = batches.blocking_recv() {
        pending = batch;
        result = write_batch(port, leave, &mut pending, total);
        if result.is_err() || !pending.is_empty() {
            break;
        }
    }
    batches.close();
    while let Ok(batch) = batches.try_recv() {
        pending.extend(batch);
    }
    port.shutdown_write();
    (result, pending)
}

/// Leaves something in `pending` only when told to leave.
fn write_batch(
    port: &Port,
    leave: &Leave,
    pending: &mut VecDeque<Bytes>,
    total: &AtomicU64,
) -> rustix::io::Result<()> {
    while !pending.is_empty() {
        if !leave.wait(port.fd(), PollFlags::OUT)? {
            return Ok(());
        }
        match port.write(pending.make_contiguous()) {
            Ok(written) => {
                consume(pending, written);
                total.fetch_add(written as u64, Ordering::Relaxed);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consume_goes_over_chunk_borders() {
        let chunks = |texts: &[&'static str]| -> VecDeque<Bytes> {
            texts
                .iter()
                .map(|t| Bytes::from_static(t.as_bytes()))
                .collect()
        };
        let mut pending = chunks(&["abc", "", "de", "f"]);
        consume(&mut pending, 4);
        assert_eq!(pending, chunks(&["e", "f"]));
        consume(&mut pending, 2);
        assert!(pending.is_empty());
    }
}
