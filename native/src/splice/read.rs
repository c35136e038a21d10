//! Descriptor → stream.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use rustix::event::PollFlags;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::quic::backlog::Backlog;
use crate::splice::threads::{Leave, Threads};
use crate::splice::{Interrupt, Port, Signal};

/// Bytes asked for at once: a quarter of the largest pipe; larger gained nothing on loopback.
const CHUNK: usize = 256 * 1024;
/// A read of less than this is copied out, so that a keystroke does not hold a whole chunk until it is acknowledged.
const COPY_BELOW: usize = CHUNK / 8;
/// Chunks that a thread may read ahead of the stream.
const AHEAD: usize = 2;

/// Reads into chunks that go to the stream without another copy.
struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    fn new() -> Self {
        Self { buffer: Vec::new() }
    }

    /// None at the end of the file.
    fn read(&mut self, port: &Port) -> rustix::io::Result<Option<Bytes>> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(CHUNK);
        }
        match port.read(&mut self.buffer)? {
            0 => Ok(None),
            n if n < COPY_BELOW => {
                let data = Bytes::copy_from_slice(&self.buffer);
                self.buffer.clear();
                Ok(Some(data))
            }
            _ => Ok(Some(Bytes::from(std::mem::take(&mut self.buffer)))),
        }
    }
}

/// Copy until the end of the file. Does not finish the stream. Returns the number of bytes copied.
pub(crate) async fn from_port(
    stream: &mut quinn::SendStream,
    port: Port,
    threads: &Threads,
    backlog: &Backlog,
    interrupt: &Interrupt,
    total: &AtomicU64,
) -> Result<u64, Error> {
    let before = total.load(Ordering::Relaxed);
    let mut source = Source::open(port, threads)?;
    let result = copy(stream, &mut source, backlog, interrupt, total).await;
    if matches!(
        result,
        Err(Error::Stopped(_) | Error::StreamClosed | Error::Connection(_))
    ) {
        source.refuse();
    }
    result.map(|()| total.load(Ordering::Relaxed) - before)
}

async fn copy(
    stream: &mut quinn::SendStream,
    source: &mut Source,
    backlog: &Backlog,
    interrupt: &Interrupt,
    total: &AtomicU64,
) -> Result<(), Error> {
    let mut stopped = pin!(stream.stopped());
    loop {
        let chunk = tokio::select! {
            biased;
            signal = interrupt.any() => {
                if signal == Signal::Cancel {
                    while let Some(chunk) = source.rest().await {
                        send(stream, chunk, interrupt, total).await?;
                    }
                    return Err(Error::Cancelled);
                }
                return Err(Error::StreamClosed);
            }
            outcome = &mut stopped => match outcome? {
                Some(code) => return Err(Error::Stopped(code.into_inner())),
                None => return Err(Error::StreamClosed),
            },
            chunk = source.next() => chunk?,
        };
        match chunk {
            Some(chunk) => {
                backlog.adapt();
                send(stream, chunk, interrupt, total).await?;
            }
            None => return Ok(()),
        }
    }
}

async fn send(
    stream: &mut quinn::SendStream,
    chunk: Bytes,
    interrupt: &Interrupt,
    total: &AtomicU64,
) -> Result<(), Error> {
    let much = chunk.len() >= COPY_BELOW;
    let mut chunks = [chunk];
    while !chunks[0].is_empty() {
        let written = tokio::select! {
            biased;
            () = interrupt.abort() => return Err(Error::StreamClosed),
            written = last_if(much, stream.write_chunks(&mut chunks)) => written?,
        };
        total.fetch_add(written.bytes as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// With `last`, let the other tasks that were woken together with this one go first.
///
/// Acknowledgements make a little room in the connection's send window and wake every stream that waits for it. Who has much
/// takes all of it: a byte of another stream waited for seconds beside a bulk copy (measured).
async fn last_if<F: Future>(last: bool, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut woken = false;
    poll_fn(|context| {
        if woken {
            woken = false;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let result = future.as_mut().poll(context);
        woken = last && result.is_pending();
        result
    })
    .await
}

enum Source {
    Polled {
        fd: AsyncFd<Port>,
        reader: Reader,
    },
    Threaded {
        chunks: mpsc::Receiver<rustix::io::Result<Bytes>>,
        leave: Leave,
    },
}

impl Source {
    fn open(port: Port, threads: &Threads) -> Result<Self, Error> {
        if !port.needs_thread() {
            let fd = crate::raw::watch(port, Interest::READABLE)?;
            return Ok(Self::Polled {
                fd,
                reader: Reader::new(),
            });
        }
        let leave = threads.leave()?;
        let (sender, chunks) = mpsc::channel(AHEAD);
        let own = leave.clone();
        threads.spawn(move || read_in_thread(&port, &own, &sender))?;
        Ok(Self::Threaded { chunks, leave })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Polled { fd, reader } => loop {
                let mut ready = fd.readable().await?;
                let result =
                    ready.try_io(|fd| reader.read(fd.get_ref()).map_err(std::io::Error::from));
                match result {
                    Err(_would_block) => {}
                    Ok(Err(e)) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Ok(result) => return Ok(result?),
                }
            },
            Self::Threaded { chunks, .. } => Ok(chunks.recv().await.transpose()?),
        }
    }

    /// After a cancellation: what had been read already.
    async fn rest(&mut self) -> Option<Bytes> {
        match self {
            Self::Polled { .. } => None,
            Self::Threaded { chunks, leave } => {
                leave.signal();
                chunks.close();
                chunks.recv().await.and_then(Result::ok)
            }
        }
    }

    /// The stream takes no more: so the other side of a socket may know.
    fn refuse(&self) {
        if let Self::Polled { fd, .. } = self {
            fd.get_ref().shutdown_read();
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Threaded { leave, .. } = self {
            leave.signal();
        }
    }
}

fn read_in_thread(port: &Port, leave: &Leave, chunks: &mpsc::Sender<rustix::io::Result<Bytes>>) {
    let mut reader = Reader::new();
    loop {
        let result = match leave.wait(port.fd(), PollFlags::IN) {
            Ok(false) => return,
            Ok(true) => reader.read(port),
            Err(e) => Err(e),
        };
        let sent = match result {
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Ok(None) => return,
            Ok(Some(chunk)) => chunks.blocking_send(Ok(chunk)),
            Err(e) => {
                let _ = chunks.blocking_send(Err(e));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}
