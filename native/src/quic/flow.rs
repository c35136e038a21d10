//! Flows: QUIC datagrams that begin with a number, each number spliced with a datagram socket (docs/protocol.md 10.2).
//!
//! One task reads the connection's datagrams and writes them straight into the sockets; each flow has a task that reads its
//! socket. What a socket does not take at once is dropped. What the network does not take waits in quinn's buffer, which
//! drops its oldest; UDP flows (udp.rs) may fill a part of it, and wait in a lane before it. Python gets what is no flow's.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::error::Error;
use crate::quic::config::DATAGRAM_BYTES;
use crate::quic::silence::Silence;
use crate::runtime::{Engine, Value, lock};
use crate::splice::{Interrupt, Port, Signal};

/// Why a flow cannot be had.
#[derive(Debug)]
pub(crate) enum Refusal {
    Taken,
    NotDatagrams,
    Descriptor(Errno),
}

/// Where the datagrams of one flow go.
pub(crate) trait Sink: Send + Sync {
    /// Called with the table of flows locked, so it must not wait. False if the datagram is lost.
    fn take(&self, datagram: Bytes) -> bool;

    /// End the flow.
    fn end(&self);
}

struct Flow {
    socket: AsyncFd<Port>,
    /// SOCK_SEQPACKET: its end is read as an empty packet, so an empty one must not be written.
    tells_end: bool,
    interrupt: Interrupt,
}

impl Sink for Flow {
    fn take(&self, datagram: Bytes) -> bool {
        if datagram.is_empty() && self.tells_end {
            return false;
        }
        match self.socket.get_ref().write(&[datagram]) {
            Ok(_) => true,
            Err(error) => {
                if gone(error) {
                    self.interrupt.raise(Signal::Cancel);
                }
                false
            }
        }
    }

    fn end(&self) {
        self.interrupt.raise(Signal::Cancel);
    }
}

/// What the lane has.
enum Turn {
    Empty,
    Now(Bytes),
    Later,
}

/// What is no flow's, for Python, once it has asked.
#[derive(Default)]
struct Rest {
    wanted: bool,
    queue: Queue,
}

/// Datagrams that wait: a bounded number of bytes, and the oldest goes first.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    /// How many were dropped for it.
    pub(crate) fn push(&mut self, datagram: Bytes, limit: usize) -> u64 {
        self.bytes += datagram.len() + EACH;
        self.waiting.push_back(datagram);
        let mut dropped = 0;
        while self.bytes > limit && self.waiting.len() > 1 {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let datagram = self.waiting.pop_front()?;
        self.bytes -= datagram.len() + EACH;
        Some(datagram)
    }

    pub(crate) fn front(&self) -> Option<&Bytes> {
        self.waiting.front()
    }

    /// Bytes that wait, and a little for each datagram.
    pub(crate) fn size(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// What an empty datagram counts for in a queue.
pub(crate) const EACH: usize = 64;
/// Datagrams that wait for Python, or for their turn, in bytes.
const WAITING_MAX: usize = 1 << 16;
/// Of quinn's buffer, what datagrams of UDP flows may fill: the rest is for terminals, whose datagrams must not be thrown out
/// by a flood.
const SHARE: usize = 1 << 15;
/// That part on a slow path, where it is half a congestion window.
const SHARE_MIN: usize = 1 << 12;
/// How often a flood gives the connection a chance to send before it sleeps.
const YIELDS: usize = 4;
const NAP: Duration = Duration::from_millis(1);
/// While the path is slower than the flows, they have it for so long at a time, and then the streams.
const TURN: Duration = Duration::from_millis(40);
const PAUSE: Duration = Duration::from_millis(10);

/// The flows of one connection.
pub(crate) struct Flows {
    table: Mutex<HashMap<u64, Arc<dyn Sink>>>,
    /// A task reads the connection's datagrams.
    pumped: AtomicBool,
    rest: Mutex<Rest>,
    left: Notify,
    /// Datagrams of UDP flows that wait for room.
    lane: Mutex<Queue>,
    lane_filled: Notify,
    lane_runs: AtomicBool,
    share: AtomicUsize,
    /// Bytes of datagrams of UDP flows that wait for their streams.
    pub(crate) held_for_streams: AtomicUsize,
    moved: Notify,
    silence: Silence,
    dropped_in: AtomicU64,
    dropped_out: AtomicU64,
}

impl Flows {
    pub(crate) fn new(silence: Silence) -> Self {
        Self {
            table: Mutex::default(),
            pumped: AtomicBool::new(false),
            rest: Mutex::default(),
            left: Notify::new(),
            lane: Mutex::default(),
            lane_filled: Notify::new(),
            lane_runs: AtomicBool::new(false),
            share: AtomicUsize::new(SHARE),
            held_for_streams: AtomicUsize::new(0),
            moved: Notify::new(),
            silence,
            dropped_in: AtomicU64::new(0),
            dropped_out: AtomicU64::new(0),
        }
    }

    /// From now on what is no flow's is kept for Python.
    pub(crate) fn leave_rest(&self) {
        lock(&self.rest).wanted = true;
    }

    /// The next datagram that is no flow's.
    pub(crate) async fn next_of_rest(
        &self,
        connection: &quinn::Connection,
    ) -> Result<Bytes, Error> {
        loop {
            let left = self.left.notified();
            if let Some(datagram) = lock(&self.rest).queue.pop() {
                return Ok(datagram);
            }
            tokio::select! {
                biased;
                () = left => {}
                datagram = connection.read_datagram() => {
                    if let Some(datagram) = self.route(datagram?) {
                        return Ok(datagram);
                    }
                }
            }
        }
    }

    /// Splice one with a unix socket; the token completes at its end.
    pub(crate) fn splice(
        self: &Arc<Self>,
        engine: &Engine,
        connection: &quinn::Connection,
        token: u64,
        number: VarInt,
        fd: OwnedFd,
    ) -> Result<(), Refusal> {
        let flow = Arc::new(open(engine, fd)?);
        let entered = self.enter(engine, connection, number, flow.clone())?;
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

    /// Give a flow's number to a sink, for as long as the result lives.
    pub(crate) fn enter(
        self: &Arc<Self>,
        engine: &Engine,
        connection: &quinn::Connection,
        number: VarInt,
        sink: Arc<dyn Sink>,
    ) -> Result<Entered, Refusal> {
        match lock(&self.table).entry(number.into_inner()) {
            Entry::Occupied(_) => return Err(Refusal::Taken),
            Entry::Vacant(place) => drop(place.insert(sink)),
        }
        if !self.pumped.swap(true, Ordering::SeqCst) {
            let (flows, connection) = (self.clone(), connection.clone());
            engine
                .handle
                .spawn(async move { flows.receive(&connection).await });
        }
        Ok(Entered {
            flows: self.clone(),
            number,
        })
    }

    pub(crate) fn end(&self, number: u64) {
        if let Some(sink) = lock(&self.table).get(&number) {
            sink.end();
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
            if let Some(datagram) = self.route(datagram) {
                self.leave(datagram);
            }
            consume_budget().await;
        }
    }

    /// For Python, or for nobody.
    fn leave(&self, datagram: Bytes) {
        let mut rest = lock(&self.rest);
        let lost = if rest.wanted {
            let lost = rest.queue.push(datagram, WAITING_MAX);
            self.left.notify_one();
            lost
        } else {
            1
        };
        self.dropped_in.fetch_add(lost, Ordering::Relaxed);
    }

    /// Into its flow's socket; back if it is no flow's.
    fn route(&self, datagram: Bytes) -> Option<Bytes> {
        self.moved.notify_waiters();
        let mut payload = datagram.clone();
        let Ok(number) = VarInt::decode(&mut payload) else {
            return Some(datagram);
        };
        // Written under the lock, which is no wait: so nobody holds the socket of a flow that has ended.
        let table = lock(&self.table);
        let Some(sink) = table.get(&number.into_inner()) else {
            return Some(datagram);
        };
        if !sink.take(payload) {
            self.dropped_in.fetch_add(1, Ordering::Relaxed);
        }
        None
    }

    // -- UDP flows share one lane ---------------------------------------------------------------

    /// Send a datagram of a UDP flow now if there is room, or let it wait for its turn. False if there was no room.
    pub(crate) fn line_up(
        self: &Arc<Self>,
        engine: &Engine,
        connection: &quinn::Connection,
        datagram: Bytes,
    ) -> bool {
        let mut lane = lock(&self.lane);
        if lane.is_empty() && self.has_room(connection, datagram.len()) {
            drop(lane);
            self.send_now(connection, datagram);
            return true;
        }
        let lost = lane.push(datagram, WAITING_MAX);
        drop(lane);
        self.dropped_out.fetch_add(lost, Ordering::Relaxed);
        if self.lane_runs.swap(true, Ordering::SeqCst) {
            self.lane_filled.notify_one();
        } else {
            let (flows, connection) = (self.clone(), connection.clone());
            engine.handle.spawn(async move {
                tokio::select! {
                    _ = connection.closed() => {}
                    () = flows.drain(&connection) => {}
                }
            });
        }
        false
    }

    fn send_now(&self, connection: &quinn::Connection, datagram: Bytes) {
        if connection.send_datagram(datagram).is_err() {
            self.dropped_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn drain(&self, connection: &quinn::Connection) {
        let mut yields = 0;
        let mut crowded: Option<Instant> = None;
        loop {
            match self.next_in_lane(connection) {
                Turn::Empty => {
                    crowded = None;
                    self.share.store(SHARE, Ordering::Relaxed);
                    self.lane_filled.notified().await;
                }
                Turn::Now(datagram) => {
                    yields = 0;
                    self.send_now(connection, datagram);
                }
                Turn::Later if yields < YIELDS => {
                    yields += 1;
                    yield_now().await;
                }
                Turn::Later => {
                    let since = *crowded.get_or_insert_with(|| {
                        let half = connection.stats().path.cwnd / 2;
                        let share = usize::try_from(half).unwrap_or(SHARE);
                        self.share
                            .store(share.clamp(SHARE_MIN, SHARE), Ordering::Relaxed);
                        Instant::now()
                    });
                    if since.elapsed() >= TURN {
                        self.let_streams_go(connection).await;
                        crowded = None;
                    } else {
                        sleep(NAP).await;
                    }
                }
            }
            consume_budget().await;
        }
    }

    /// quinn sends datagrams before stream data, whoever waits: a flood that is faster than the path must now and then leave it
    /// to the streams.
    async fn let_streams_go(&self, connection: &quinn::Connection) {
        while queued(connection) > 0 {
            sleep(NAP).await;
        }
        sleep(PAUSE).await;
    }

    /// Whether quinn's buffer has room in the share of UDP flows, or nothing at all.
    fn has_room(&self, connection: &quinn::Connection, size: usize) -> bool {
        let queued = queued(connection);
        queued == 0 || queued + size <= self.share.load(Ordering::Relaxed)
    }

    fn next_in_lane(&self, connection: &quinn::Connection) -> Turn {
        let mut lane = lock(&self.lane);
        match lane.front() {
            Some(datagram) if !self.has_room(connection, datagram.len()) => Turn::Later,
            _ => lane.pop().map_or(Turn::Empty, Turn::Now),
        }
    }

    // -- unix sockets ---------------------------------------------------------------------------

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

/// Bytes in quinn's buffer of datagrams. It keeps room for the record of one more.
fn queued(connection: &quinn::Connection) -> usize {
    DATAGRAM_BYTES
        .saturating_sub(connection.datagram_send_buffer_space())
        .saturating_sub(EACH)
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
    let socket = crate::raw::watch(port, Interest::READABLE)
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
pub(crate) struct Entered {
    flows: Arc<Flows>,
    number: VarInt,
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.flows.table).remove(&self.number.into_inner());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Sink for Nobody {
        fn take(&self, _: Bytes) -> bool {
            false
        }

        fn end(&self) {}
    }

    #[test]
    fn what_has_no_number_or_an_unknown_one_is_left() {
        let flows = Flows::new(Silence::default());
        lock(&flows.table).insert(8, Arc::new(Nobody));
        for data in [&b""[..], &[0xc0, 1, 2], b"\x04data"] {
            let datagram = Bytes::from_static(data);
            assert_eq!(flows.route(datagram.clone()), Some(datagram));
        }
        assert_eq!(flows.route(Bytes::from_static(b"\x08data")), None);
        assert_eq!(flows.dropped(), (1, 0));
    }

    #[test]
    fn what_is_left_waits_only_for_who_has_asked() {
        let flows = Flows::new(Silence::default());
        flows.leave(Bytes::from_static(b"lost"));
        assert!(lock(&flows.rest).queue.is_empty());
        flows.leave_rest();
        for _ in 0..3 {
            flows.leave(Bytes::from(vec![0; WAITING_MAX / 2]));
        }
        assert_eq!(flows.dropped(), (3, 0));
        assert!(!lock(&flows.rest).queue.is_empty());
    }

    #[test]
    fn a_queue_drops_its_oldest_and_keeps_its_newest() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(Bytes::from_static(b"a"), 200), 0);
        assert_eq!(queue.push(Bytes::from_static(b"b"), 200), 0);
        assert_eq!(queue.push(Bytes::from_static(&[0; 1000]), 200), 2);
        assert_eq!(queue.pop().map(|last| last.len()), Some(1000));
        assert_eq!((queue.pop(), queue.bytes), (None, 0));
    }
}
