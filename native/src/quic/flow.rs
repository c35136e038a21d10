//! Flows: QUIC datagrams that begin with a number, each number spliced with a datagram socket (docs/protocol.md 10.2).
//!
//! One task reads the connection's datagrams and writes them straight into the sockets; each flow has a task that reads its
//! socket. Nothing is queued here: what a socket does not take at once is dropped, what the network does not take waits in
//! quinn's buffer, which drops its oldest.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use quinn::VarInt;
use quinn_proto::coding::Codec;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::coop::consume_budget;

use crate::error::Error;
use crate::quic::silence::Silence;
use crate::runtime::{Engine, Value, lock};
use crate::splice::{Interrupt, Port, Signal};

/// Why a flow cannot be had.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Python reads this connection's datagrams.
    Unspliced,
    Taken,
    NotDatagrams,
    Descriptor(Errno),
}

/// Who reads the datagrams of a connection: whoever comes first.
enum Reader {
    Nobody,
    Python,
    Flows(HashMap<u64, Arc<Flow>>),
}

struct Flow {
    socket: AsyncFd<Port>,
    /// SOCK_SEQPACKET: its end is read as an empty packet, so an empty one must not be written.
    tells_end: bool,
    interrupt: Interrupt,
}

/// The flows of one connection.
pub(crate) struct Flows {
    reader: Mutex<Reader>,
    moved: Notify,
    silence: Silence,
    dropped_in: AtomicU64,
    dropped_out: AtomicU64,
}

impl Flows {
    pub(crate) fn new(silence: Silence) -> Self {
        Self {
            reader: Mutex::new(Reader::Nobody),
            moved: Notify::new(),
            silence,
            dropped_in: AtomicU64::new(0),
            dropped_out: AtomicU64::new(0),
        }
    }

    /// False if they are spliced: Python gets no datagram.
    pub(crate) fn leave_to_python(&self) -> bool {
        let mut reader = lock(&self.reader);
        if matches!(*reader, Reader::Nobody) {
            *reader = Reader::Python;
        }
        matches!(*reader, Reader::Python)
    }

    /// Splice one; the token completes at its end.
    pub(crate) fn splice(
        self: &Arc<Self>,
        engine: &Engine,
        connection: &quinn::Connection,
        token: u64,
        number: VarInt,
        fd: OwnedFd,
    ) -> Result<(), Refusal> {
        let flow = Arc::new(open(engine, fd)?);
        let first = self.enter(number.into_inner(), flow.clone())?;
        if first {
            let (flows, connection) = (self.clone(), connection.clone());
            engine
                .handle
                .spawn(async move { flows.receive(&connection).await });
        }
        let entered = Entered {
            flows: self.clone(),
            number,
        };
        let connection = connection.clone();
        engine.complete(token, async move {
            let result = tokio::select! {
                biased;
                _ = flow.interrupt.any() => Ok(()),
                _ = connection.closed() => Ok(()),
                result = entered.flows.send(&connection, number, &flow) => result,
            };
            drop(flow);
            drop(entered); // the socket is closed before anybody hears of the end
            result.map(|()| Value::None)
        });
        Ok(())
    }

    /// True if it is the first one.
    fn enter(&self, number: u64, flow: Arc<Flow>) -> Result<bool, Refusal> {
        let mut reader = lock(&self.reader);
        match &mut *reader {
            Reader::Python => return Err(Refusal::Unspliced),
            Reader::Nobody => {}
            Reader::Flows(table) => {
                return match table.entry(number) {
                    Entry::Occupied(_) => Err(Refusal::Taken),
                    Entry::Vacant(place) => {
                        place.insert(flow);
                        Ok(false)
                    }
                };
            }
        }
        *reader = Reader::Flows(HashMap::from([(number, flow)]));
        Ok(true)
    }

    pub(crate) fn end(&self, number: u64) {
        if let Reader::Flows(table) = &*lock(&self.reader)
            && let Some(flow) = table.get(&number)
        {
            flow.interrupt.raise(Signal::Cancel);
        }
    }

    /// The next datagram of any flow, either way.
    pub(crate) async fn activity(&self) {
        self.moved.notified().await;
    }

    /// Datagrams that were lost between the connection and the sockets: (in, out).
    pub(crate) fn dropped(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.dropped_in), load(&self.dropped_out))
    }

    /// Connection → sockets, until the connection ends.
    async fn receive(&self, connection: &quinn::Connection) {
        while let Ok(datagram) = connection.read_datagram().await {
            self.moved.notify_waiters();
            if !self.deliver(datagram) {
                self.dropped_in.fetch_add(1, Ordering::Relaxed);
            }
            consume_budget().await;
        }
    }

    /// False if it is lost.
    fn deliver(&self, mut datagram: Bytes) -> bool {
        let Ok(number) = VarInt::decode(&mut datagram) else {
            return false;
        };
        // Written under the lock, which is no wait: so nobody holds the socket of a flow that has ended.
        let reader = lock(&self.reader);
        let Reader::Flows(table) = &*reader else {
            return false;
        };
        let Some(flow) = table.get(&number.into_inner()) else {
            return false;
        };
        if datagram.is_empty() && flow.tells_end {
            return false;
        }
        match flow.socket.get_ref().write(&[datagram]) {
            Ok(_) => true,
            Err(error) => {
                if gone(error) {
                    flow.interrupt.raise(Signal::Cancel);
                }
                false
            }
        }
    }

    /// Socket → connection, until the socket's other side is closed.
    async fn send(
        &self,
        connection: &quinn::Connection,
        number: VarInt,
        flow: &Flow,
    ) -> Result<(), Error> {
        let mut prefix = Vec::new();
        number.encode(&mut prefix);
        let mut buffer = Vec::new();
        loop {
            let mut ready = flow.socket.readable().await.map_err(Error::from)?;
            // By somebody who has it too; tokio then calls it readable for good.
            let shut_down = ready.ready().is_read_closed();
            let largest = connection.max_datagram_size().unwrap_or(0);
            buffer.clear();
            buffer.extend_from_slice(&prefix);
            buffer.reserve(largest + 1); // one more than may be sent: what is cut off is too large
            let result = ready.try_io(|socket| {
                socket
                    .get_ref()
                    .read(&mut buffer)
                    .map_err(std::io::Error::from)
            });
            let errno = match result {
                Err(_would_block) if shut_down => return Ok(()),
                Err(_would_block) => continue,
                Ok(Ok(0)) if flow.tells_end => return Ok(()),
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            };
            match errno {
                None => self.pass_on(connection, &buffer, largest),
                Some(Errno::INTR) => {}
                Some(errno) if gone(errno) => return Ok(()),
                Some(errno) => return Err(errno.into()),
            }
            consume_budget().await;
        }
    }

    fn pass_on(&self, connection: &quinn::Connection, datagram: &[u8], largest: usize) {
        self.moved.notify_waiters();
        self.silence.datagram(Instant::now(), datagram.len());
        let sent = datagram.len() <= largest
            && connection
                .send_datagram(Bytes::copy_from_slice(datagram))
                .is_ok();
        if !sent {
            self.dropped_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn open(engine: &Engine, fd: OwnedFd) -> Result<Flow, Refusal> {
    let kind = sockopt::socket_type(&fd).map_err(|_| Refusal::NotDatagrams)?;
    let family = sockopt::socket_domain(&fd).map_err(Refusal::Descriptor)?;
    let tells_end = kind == SocketType::SEQPACKET;
    if family != AddressFamily::UNIX || !(tells_end || kind == SocketType::DGRAM) {
        return Err(Refusal::NotDatagrams);
    }
    let port = Port::new(fd, false, OFlags::RDWR).map_err(Refusal::Descriptor)?;
    let _inside = engine.handle.enter();
    let socket = crate::fd::watch(port, Interest::READABLE)
        .map_err(|e| Refusal::Descriptor(Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
    Ok(Flow {
        socket,
        tells_end,
        interrupt: Interrupt::default(),
    })
}

/// The other side was closed: a stop in good order.
fn gone(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN
    )
}

/// A flow's place in the table, for as long as its task lives.
struct Entered {
    flows: Arc<Flows>,
    number: VarInt,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Reader::Flows(table) = &mut *lock(&self.flows.reader) {
            table.remove(&self.number.into_inner());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_and_flows_exclude_each_other() {
        let flows = Flows::new(Silence::default());
        assert!(flows.leave_to_python());
        assert!(flows.leave_to_python());
        *lock(&flows.reader) = Reader::Flows(HashMap::new());
        assert!(!flows.leave_to_python());
    }

    #[test]
    fn what_has_no_number_or_an_unknown_one_is_lost() {
        let flows = Flows::new(Silence::default());
        *lock(&flows.reader) = Reader::Flows(HashMap::new());
        assert!(!flows.deliver(Bytes::new()));
        assert!(!flows.deliver(Bytes::from_static(&[0xc0, 1, 2])));
        assert!(!flows.deliver(Bytes::from_static(b"\x04data")));
    }
}
