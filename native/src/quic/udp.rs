//! UDP sockets spliced with flows (docs/protocol.md 12): a connected one with one flow, or a bound one that serves many peers.
//!
//! Small datagrams travel as QUIC datagrams (flow.rs), larger ones, and those that come before the other side is there, on the
//! flow's stream, behind their length. Nothing waits for Python: it hears of a new peer, and of the end of a flow.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use quinn::VarInt;
use quinn_proto::coding::Codec;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, recvfrom, send, sendto, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::quic::address;
use crate::quic::backlog::Backlog;
use crate::quic::connection::{Connection, refused};
use crate::quic::endpoint::varint;
use crate::quic::flow::{EACH, Flows, Queue, Refusal, Sink};
use crate::quic::recv::{Half, RecvStream};
use crate::quic::send::SendStream;
use crate::runtime::{Engine, Runtime, Value, lock, os_error};
use crate::splice::{Interrupt, Port, Signal};

/// More than a datagram may have.
const BUFFER: usize = 1 << 16;
/// Datagrams that are read from one socket before others have their turn.
const BATCH: usize = 64;
/// Bytes of datagrams that wait for a flow's stream; beyond that the oldest are dropped.
const STREAM_MAX: usize = 1 << 18;
/// That of all flows of a connection; beyond it the newest are dropped.
const STREAMS_MAX: usize = 1 << 23;
/// Bytes of datagrams that wait until a new peer's flow is there, of one peer and of all.
const NEW_MAX: usize = 1 << 16;
const HELD_MAX: usize = 1 << 18;
/// New peers of a socket, a second and at once: each costs its connection a stream and Python some work.
const RATE: f64 = 250.0;
const BURST: f64 = 250.0;
/// A flow with an answer that was used within this time is not given up for a new peer; one that was a question or two, less long.
const KEPT: Duration = Duration::from_secs(10);
const KEPT_QUESTION: Duration = Duration::from_secs(1);
const QUESTIONS: u64 = 2;
/// Application codes of a stream whose flow has ended with an error of the socket (docs/protocol.md 12.5).
const CODE_FAILED: u32 = 2;
const CODE_REFUSED: u32 = 3;

/// An error alone (ICMP) does not make a socket readable.
const WATCHED: Interest = Interest::READABLE.add(Interest::ERROR);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// How a flow ended, and what went through it.
pub(crate) struct End {
    pub(crate) why: &'static str,
    pub(crate) code: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) dropped: u64,
}

/// Somebody who has sent a first datagram. With SOCKS the header says where to.
pub(crate) struct NewPeer {
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
    pub(crate) header: Bytes,
}

enum Far {
    Connected(AsyncFd<Port>),
    Peer(Arc<Ears>, Key),
}

/// One flow.
struct Pipe {
    engine: Engine,
    connection: quinn::Connection,
    flows: Arc<Flows>,
    far: Far,
    prefix: Vec<u8>,
    /// What is larger than this never goes by the stream.
    by_stream: usize,
    /// The other side is there.
    direct: AtomicBool,
    outgoing: Mutex<Queue>,
    filled: Notify,
    interrupt: Interrupt,
    errno: AtomicI32,
    start: Instant,
    used_ms: AtomicU64,
    replied: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
}

impl Pipe {
    fn new(connection: &Connection, number: VarInt, far: Far, by_stream: usize) -> Self {
        let mut prefix = Vec::new();
        number.encode(&mut prefix);
        Self {
            engine: connection.engine.clone(),
            connection: connection.inner.clone(),
            flows: connection.flows.clone(),
            far,
            prefix,
            by_stream,
            direct: AtomicBool::new(false),
            outgoing: Mutex::default(),
            filled: Notify::new(),
            interrupt: Interrupt::default(),
            errno: AtomicI32::new(0),
            start: Instant::now(),
            used_ms: AtomicU64::new(0),
            replied: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.store(now, Ordering::Relaxed);
    }

    fn unused(&self) -> Duration {
        let used = Duration::from_millis(self.used_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(used)
    }

    fn lose(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Socket → connection. False if the connection is slower than the socket.
    fn forward(&self, payload: &[u8]) -> bool {
        self.touch();
        self.sent.fetch_add(1, Ordering::Relaxed);
        if self.direct.load(Ordering::Acquire) {
            let size = self.prefix.len() + payload.len();
            if size <= self.connection.max_datagram_size().unwrap_or(0) {
                let mut datagram = BytesMut::with_capacity(size);
                datagram.put_slice(&self.prefix);
                datagram.put_slice(payload);
                return self
                    .flows
                    .line_up(&self.engine, &self.connection, datagram.freeze());
            }
        }
        let Some(length) = u16::try_from(payload.len())
            .ok()
            .filter(|_| payload.len() <= self.by_stream)
        else {
            self.lose(1);
            return true;
        };
        let held = &self.flows.held_for_streams;
        if held.load(Ordering::Relaxed) + payload.len() > STREAMS_MAX {
            self.lose(1);
            return true;
        }
        let mut frame = BytesMut::with_capacity(2 + payload.len());
        frame.put_u16(length);
        frame.put_slice(payload);
        let mut outgoing = lock(&self.outgoing);
        let before = outgoing.size();
        let lost = outgoing.push(frame.freeze(), STREAM_MAX);
        // Wraps where more was dropped than came: the sum is right.
        held.fetch_add(outgoing.size().wrapping_sub(before), Ordering::Relaxed);
        drop(outgoing);
        self.lose(lost);
        self.filled.notify_one();
        true
    }

    /// The next datagram for the stream.
    fn next_frame(&self) -> Option<Bytes> {
        let frame = lock(&self.outgoing).pop()?;
        let held = &self.flows.held_for_streams;
        held.fetch_sub(frame.len() + EACH, Ordering::Relaxed);
        Some(frame)
    }

    /// Connection → socket. False if it is lost.
    fn deliver(&self, payload: &[u8]) -> bool {
        self.touch();
        self.replied.store(true, Ordering::Relaxed);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let result = match &self.far {
            Far::Connected(socket) => send(socket.get_ref().fd(), payload, flags),
            Far::Peer(ears, key) if key.header.is_empty() => {
                sendto(ears.socket.get_ref().fd(), payload, flags, &key.address)
            }
            Far::Peer(ears, key) => {
                let whole = [&key.header[..], payload].concat();
                sendto(ears.socket.get_ref().fd(), &whole, flags, &key.address)
            }
        };
        match result {
            Ok(_) => {
                self.received.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(errno) => {
                self.lose(1);
                if matches!(self.far, Far::Connected(_)) && !passes(errno) {
                    self.fail(errno);
                }
                false
            }
        }
    }

    fn fail(&self, errno: Errno) {
        self.errno.store(errno.raw_os_error(), Ordering::SeqCst);
        self.interrupt.raise(Signal::Abort);
    }

    /// Until the end of the flow. `recv` comes when the other side is there.
    async fn run(
        &self,
        mut send: oneshot::Receiver<quinn::SendStream>,
        recv: oneshot::Receiver<oneshot::Receiver<Half>>,
        idle: Option<Duration>,
    ) -> End {
        let (mut stream, mut half) = (None, None);
        let (why, code) = tokio::select! {
            biased;
            signal = self.interrupt.any() => match signal {
                Signal::Abort => ("socket", u64::from(self.errno.load(Ordering::SeqCst).unsigned_abs())),
                Signal::Cancel => ("closed", 0),
            },
            _ = self.connection.closed() => ("closed", 0),
            end = self.read_stream(recv, &mut half) => end,
            end = self.write_stream(&mut send, &mut stream) => end,
            errno = self.read_socket() => ("socket", u64::from(errno.raw_os_error().unsigned_abs())),
            () = self.wait_idle(idle) => ("idle", 0),
        };
        let refused = i32::try_from(code).ok() == Some(Errno::CONNREFUSED.raw_os_error());
        let told = VarInt::from_u32(if refused { CODE_REFUSED } else { CODE_FAILED });
        if let Some(mut send) = stream.or_else(|| send.try_recv().ok()) {
            if matches!(why, "socket" | "reset") {
                let _ = send.reset(told);
            } else {
                let _ = send.finish();
            }
        }
        if let Some(Half { mut stream, .. }) = half {
            let _ = stream.stop(told);
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        End {
            why,
            code,
            sent: count(&self.sent),
            received: count(&self.received),
            dropped: count(&self.dropped),
        }
    }

    async fn wait_idle(&self, idle: Option<Duration>) {
        let Some(idle) = idle else {
            return std::future::pending().await;
        };
        while let Some(left) = idle
            .checked_sub(self.unused())
            .filter(|left| !left.is_zero())
        {
            sleep(left).await;
        }
    }

    async fn read_stream(
        &self,
        recv: oneshot::Receiver<oneshot::Receiver<Half>>,
        kept: &mut Option<Half>,
    ) -> (&'static str, u64) {
        let half = match recv.await {
            Ok(giving) => giving.await.ok(),
            Err(_nobody) => None,
        };
        let Some(half) = half else {
            return ("closed", 0);
        };
        self.direct.store(true, Ordering::Release);
        let Half { stream, pending } = kept.insert(half);
        let mut buffer = BytesMut::new();
        for chunk in pending.drain(..) {
            buffer.extend_from_slice(&chunk);
        }
        loop {
            let mut count = 0;
            while let Some(payload) = take_frame(&mut buffer) {
                self.deliver(&payload);
                count += 1;
                if count % BATCH == 0 {
                    yield_now().await; // empty ones take two bytes each: a megabyte would hold up every connection
                }
            }
            match stream.read_chunk(BUFFER, true).await {
                Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
                Ok(None) => return ("ended", 0),
                Err(quinn::ReadError::Reset(code)) => return ("reset", code.into_inner()),
                Err(_) => return ("closed", 0),
            }
        }
    }

    async fn write_stream(
        &self,
        send: &mut oneshot::Receiver<quinn::SendStream>,
        kept: &mut Option<quinn::SendStream>,
    ) -> (&'static str, u64) {
        let Ok(send) = send.await else {
            return ("closed", 0);
        };
        let send = kept.insert(send);
        let backlog = Backlog::new(self.connection.clone());
        loop {
            let Some(frame) = self.next_frame() else {
                self.filled.notified().await;
                continue;
            };
            backlog.adapt();
            match send.write_chunk(frame).await {
                Ok(()) => {}
                Err(quinn::WriteError::Stopped(code)) => return ("reset", code.into_inner()),
                Err(_) => return ("closed", 0),
            }
        }
    }

    /// Of a connected one, until it fails.
    async fn read_socket(&self) -> Errno {
        let Far::Connected(socket) = &self.far else {
            return std::future::pending().await;
        };
        read_all(socket, |fd| {
            SCRATCH.with_borrow_mut(|buffer| {
                for _ in 0..BATCH {
                    let (size, _, _) = recvfrom(fd, &mut buffer[..], RecvFlags::DONTWAIT)?;
                    if !self.forward(&buffer[..size]) {
                        break;
                    }
                }
                Ok(())
            })
        })
        .await
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        while self.next_frame().is_some() {}
    }
}

impl Sink for Pipe {
    fn take(&self, datagram: Bytes) -> bool {
        self.deliver(&datagram)
    }

    fn end(&self) {
        self.interrupt.raise(Signal::Cancel);
    }
}

/// Read whenever there is something, until `read` fails with more than "nothing there".
async fn read_all(socket: &AsyncFd<Port>, read: impl Fn(&OwnedFd) -> Result<(), Errno>) -> Errno {
    loop {
        let Ok(mut ready) = socket.ready(WATCHED).await else {
            return Errno::IO;
        };
        let result =
            ready.try_io(|socket| read(socket.get_ref().fd()).map_err(std::io::Error::from));
        if let Ok(Err(error)) = result {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            if errno != Errno::INTR {
                return errno;
            }
        }
        yield_now().await; // the connection sends what was read
    }
}

/// One datagram of the stream, if it is whole.
fn take_frame(buffer: &mut BytesMut) -> Option<Bytes> {
    let size = usize::from(u16::from_be_bytes([*buffer.first()?, *buffer.get(1)?]));
    if buffer.len() < 2 + size {
        return None;
    }
    buffer.advance(2);
    Some(buffer.split_to(size).freeze())
}

/// One datagram is lost, and that is all.
fn passes(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM | Errno::MSGSIZE | Errno::PERM
    )
}

fn open(engine: &Engine, fd: OwnedFd) -> Result<AsyncFd<Port>, Refusal> {
    let kind = sockopt::socket_type(&fd).map_err(|_| Refusal::NotDatagrams)?;
    let family = sockopt::socket_domain(&fd).map_err(Refusal::Descriptor)?;
    if kind != SocketType::DGRAM || !matches!(family, AddressFamily::INET | AddressFamily::INET6) {
        return Err(Refusal::NotDatagrams);
    }
    let port = Port::new(fd, false, OFlags::RDWR).map_err(Refusal::Descriptor)?;
    let _inside = engine.handle.enter();
    crate::raw::watch(port, WATCHED)
        .map_err(|e| Refusal::Descriptor(Errno::from_io_error(&e).unwrap_or(Errno::IO)))
}

fn idle_time(idle_s: f64) -> PyResult<Option<Duration>> {
    let idle = Duration::try_from_secs_f64(idle_s)
        .map_err(|_| PyValueError::new_err("idle_s is not a length of time"))?;
    Ok((!idle.is_zero()).then_some(idle))
}

/// `Connection.splice_udp`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn splice(
    connection: &Connection,
    token: u64,
    number: u64,
    fd: OwnedFd,
    send: &SendStream,
    recv: &RecvStream,
    by_stream: usize,
    idle_s: f64,
) -> PyResult<()> {
    let number = varint("flow", number)?;
    let idle = idle_time(idle_s)?;
    let engine = connection.engine.clone();
    let socket = open(&engine, fd).map_err(refused)?;
    let pipe = Arc::new(Pipe::new(
        connection,
        number,
        Far::Connected(socket),
        by_stream,
    ));
    let entered = connection
        .flows
        .enter(&engine, &connection.inner, number, pipe.clone())
        .map_err(refused)?;
    let (now, recv_later) = oneshot::channel();
    let _ = now.send(recv.shared.give());
    let sending = send.shared.give();
    engine.complete(token, async move {
        let end = pipe.run(sending, recv_later, idle).await;
        drop(entered);
        drop(pipe); // the socket is closed before anybody hears of the end
        Ok(Value::FlowEnd(Box::new(end)))
    });
    Ok(())
}

// -- many peers ------------------------------------------------------------------------------------

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    address: SocketAddr,
    /// Of SOCKS: one flow for each target.
    header: Bytes,
}

enum State {
    /// Waits for its flow.
    New(Queue),
    Flow(Arc<Pipe>, Option<oneshot::Sender<oneshot::Receiver<Half>>>),
}

struct Entry {
    id: u64,
    since: Instant,
    state: State,
}

impl Entry {
    /// Who goes first when there are too many: those without an answer, and of these the one that was unused for longest. The last
    /// says how long one is kept at least.
    fn unused(&self) -> (bool, Duration, Duration) {
        match &self.state {
            State::New(_) => (false, self.since.elapsed(), Duration::ZERO),
            State::Flow(pipe, _) => {
                let asked_once = pipe.sent.load(Ordering::Relaxed) <= QUESTIONS;
                let kept = match pipe.replied.load(Ordering::Relaxed) {
                    false => Duration::ZERO,
                    true if asked_once => KEPT_QUESTION,
                    true => KEPT,
                };
                (!kept.is_zero(), pipe.unused(), kept)
            }
        }
    }
}

struct Table {
    peers: HashMap<Key, Entry>,
    keys: HashMap<u64, Key>,
    fresh: VecDeque<u64>,
    next: u64,
    /// Bytes that wait in all.
    held: usize,
    /// New peers that may come now.
    tokens: f64,
    filled_at: Instant,
}

impl Table {
    fn new() -> Self {
        Self {
            peers: HashMap::new(),
            keys: HashMap::new(),
            fresh: VecDeque::new(),
            next: 0,
            held: 0,
            tokens: BURST,
            filled_at: Instant::now(),
        }
    }

    /// Whether new peers do not come too fast.
    fn in_time(&mut self) -> bool {
        let now = Instant::now();
        let passed = now.duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + passed * RATE).min(BURST);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    fn entry(&mut self, id: u64) -> Option<(&Key, &mut Entry)> {
        let key = self.keys.get(&id)?;
        self.peers.get_mut(key).map(|entry| (key, entry))
    }

    fn remove(&mut self, id: u64) {
        let Some(key) = self.keys.remove(&id) else {
            return;
        };
        match self.peers.remove(&key).map(|entry| entry.state) {
            Some(State::Flow(pipe, _)) => pipe.end(),
            Some(State::New(mut queue)) => {
                while let Some(datagram) = queue.pop() {
                    self.held = self.held.saturating_sub(datagram.len() + EACH);
                }
                self.fresh.retain(|other| *other != id);
            }
            None => {}
        }
    }

    /// Whether there is room for one more.
    fn make_room(&mut self, limit: usize) -> bool {
        if self.peers.len() < limit {
            return true;
        }
        let victim = self
            .peers
            .values()
            .map(|entry| (entry.unused(), entry.id))
            .max_by_key(|((replied, unused, kept), _)| (!replied, unused.saturating_sub(*kept)));
        match victim {
            Some(((_, unused, kept), id)) if unused >= kept => {
                self.remove(id);
                true
            }
            _ => false,
        }
    }
}

struct Ears {
    socket: AsyncFd<Port>,
    table: Mutex<Table>,
    arrived: Notify,
    limit: usize,
    idle: Option<Duration>,
    socks: bool,
    /// Only this address is heard; port 0: any.
    only: Option<(IpAddr, u16)>,
    closed: Interrupt,
    dropped: AtomicU64,
}

impl Ears {
    async fn listen(&self) {
        loop {
            let errno = tokio::select! {
                biased;
                _ = self.closed.any() => return,
                errno = read_all(&self.socket, |fd| self.read_batch(fd)) => errno,
            };
            // An error that an earlier answer has met (ICMP): told once, and nobody knows whose it was.
            if !passes(errno) && errno != Errno::CONNREFUSED {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn read_batch(&self, fd: &OwnedFd) -> Result<(), Errno> {
        SCRATCH.with_borrow_mut(|buffer| {
            for _ in 0..BATCH {
                let (size, _, from) = recvfrom(fd, &mut buffer[..], RecvFlags::DONTWAIT)?;
                let from = from.and_then(|any| SocketAddr::try_from(any).ok());
                let heard = from.map(|from| self.hear(from, &buffer[..size]));
                if heard == Some(false) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn lose(&self) -> bool {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// False if a connection is slower than the socket.
    fn hear(&self, address: SocketAddr, data: &[u8]) -> bool {
        if let Some((ip, port)) = self.only
            && (address.ip().to_canonical() != ip || (port != 0 && address.port() != port))
        {
            return self.lose();
        }
        let Some(length) = (if self.socks {
            header_length(data)
        } else {
            Some(0)
        }) else {
            return self.lose();
        };
        let (header, payload) = data.split_at(length);
        let header = Bytes::copy_from_slice(header);
        let key = Key { address, header };
        let mut table = lock(&self.table);
        if let Some(Entry {
            state: State::Flow(pipe, _),
            ..
        }) = table.peers.get(&key)
        {
            let pipe = pipe.clone();
            drop(table);
            return pipe.forward(payload);
        }
        if table.held + payload.len() > HELD_MAX {
            return self.lose();
        }
        if !table.peers.contains_key(&key) {
            if !table.in_time() || !table.make_room(self.limit) {
                return self.lose();
            }
            let id = table.next;
            table.next += 1;
            table.keys.insert(id, key.clone());
            table.fresh.push_back(id);
            let entry = Entry {
                id,
                since: Instant::now(),
                state: State::New(Queue::default()),
            };
            table.peers.insert(key.clone(), entry);
            self.arrived.notify_one();
        }
        if let Some(Entry {
            state: State::New(queue),
            ..
        }) = table.peers.get_mut(&key)
        {
            let before = queue.size();
            let lost = queue.push(Bytes::copy_from_slice(payload), NEW_MAX);
            let after = queue.size();
            table.held = (table.held + after).saturating_sub(before);
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        }
        true
    }
}

/// How long the header of a SOCKS 5 datagram is (RFC 1928 7); nothing if it is none, or a fragment.
fn header_length(data: &[u8]) -> Option<usize> {
    let address = match data.get(3)? {
        1 => 4,
        3 => 1 + usize::from(*data.get(4)?),
        4 => 16,
        _ => return None,
    };
    let length = 4 + address + 2;
    (data[2] == 0 && length <= data.len()).then_some(length)
}

/// A bound UDP socket, as Python sees it.
#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct UdpListener {
    engine: Engine,
    /// None: closed. However long Python keeps this object, the socket must not outlive that.
    ears: Mutex<Option<Arc<Ears>>>,
}

#[pymethods]
impl UdpListener {
    #[new]
    #[pyo3(signature = (runtime, fd, *, limit, idle_s, socks = false, only = None))]
    fn new(
        py: Python<'_>,
        runtime: &Runtime,
        fd: RawFd,
        limit: usize,
        idle_s: f64,
        socks: bool,
        only: Option<(String, u16)>,
    ) -> PyResult<Self> {
        let fd = crate::raw::adopt(fd).map_err(os_error)?;
        let idle = idle_time(idle_s)?;
        let only = only
            .map(|(host, port)| {
                address::parse(&host, port)
                    .map(|address| (address.ip().to_canonical(), port))
                    .ok_or_else(|| PyValueError::new_err("only: not an IP address"))
            })
            .transpose()?;
        let engine = runtime.engine.clone();
        py.detach(|| {
            let ears = Arc::new(Ears {
                socket: open(&engine, fd).map_err(refused)?,
                table: Mutex::new(Table::new()),
                arrived: Notify::new(),
                limit,
                idle,
                socks,
                only,
                closed: Interrupt::default(),
                dropped: AtomicU64::new(0),
            });
            let listening = ears.clone();
            engine.handle.spawn(async move { listening.listen().await });
            Ok(Self {
                engine,
                ears: Mutex::new(Some(ears)),
            })
        })
    }

    fn peer(&self, token: u64) {
        let ears = self.ears();
        self.engine.complete(token, async move {
            let Some(ears) = ears else {
                return Ok(Value::None);
            };
            loop {
                let arrived = ears.arrived.notified();
                {
                    let mut table = lock(&ears.table);
                    if let Some(id) = table.fresh.pop_front() {
                        if !table.fresh.is_empty() {
                            ears.arrived.notify_one();
                        }
                        if let Some((key, _)) = table.entry(id) {
                            return Ok(Value::Peer(Box::new(NewPeer {
                                id,
                                address: key.address,
                                header: key.header.clone(),
                            })));
                        }
                        continue;
                    }
                }
                tokio::select! {
                    biased;
                    _ = ears.closed.any() => return Ok(Value::None),
                    () = arrived => {}
                }
            }
        });
    }

    #[pyo3(signature = (token, peer, connection, flow, send, *, by_stream = 65_535))]
    #[allow(clippy::too_many_arguments)]
    fn attach(
        &self,
        py: Python<'_>,
        token: u64,
        peer: u64,
        connection: &Connection,
        flow: u64,
        send: &SendStream,
        by_stream: usize,
    ) -> PyResult<()> {
        let number = varint("flow", flow)?;
        py.detach(|| {
            let engine = self.engine.clone();
            let Some(ears) = self.ears() else {
                return Err(gone());
            };
            let (later, recv) = oneshot::channel();
            let mut table = lock(&ears.table);
            let Some((key, entry)) = table.entry(peer) else {
                return Err(gone());
            };
            let State::New(_) = entry.state else {
                return Err(PyValueError::new_err("the peer has a flow already"));
            };
            let far = Far::Peer(ears.clone(), key.clone());
            let pipe = Arc::new(Pipe::new(connection, number, far, by_stream));
            let entered = connection
                .flows
                .enter(&engine, &connection.inner, number, pipe.clone())
                .map_err(refused)?;
            let state = State::Flow(pipe.clone(), Some(later));
            let mut freed = 0;
            if let State::New(mut queue) = std::mem::replace(&mut entry.state, state) {
                while let Some(payload) = queue.pop() {
                    freed += payload.len() + EACH;
                    pipe.forward(&payload);
                }
            }
            table.held = table.held.saturating_sub(freed);
            drop(table);
            let sending = send.shared.give();
            engine.complete(token, async move {
                let end = pipe.run(sending, recv, ears.idle).await;
                drop(entered);
                lock(&ears.table).remove(peer);
                Ok(Value::FlowEnd(Box::new(end)))
            });
            Ok(())
        })
    }

    fn opened(&self, py: Python<'_>, peer: u64, recv: &RecvStream) {
        py.detach(|| {
            if let Some(ears) = self.ears()
                && let Some((_, entry)) = lock(&ears.table).entry(peer)
                && let State::Flow(_, later) = &mut entry.state
                && let Some(later) = later.take()
            {
                let _ = later.send(recv.shared.give());
            }
        });
    }

    fn forget(&self, py: Python<'_>, peer: u64) {
        py.detach(|| {
            if let Some(ears) = self.ears() {
                lock(&ears.table).remove(peer);
            }
        });
    }

    fn counts(&self, py: Python<'_>) -> (usize, u64) {
        py.detach(|| {
            self.ears().map_or((0, 0), |ears| {
                let peers = lock(&ears.table).peers.len();
                (peers, ears.dropped.load(Ordering::Relaxed))
            })
        })
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.end());
    }
}

impl UdpListener {
    fn ears(&self) -> Option<Arc<Ears>> {
        lock(&self.ears).clone()
    }

    fn end(&self) {
        let Some(ears) = lock(&self.ears).take() else {
            return;
        };
        ears.closed.raise(Signal::Cancel);
        let mut table = lock(&ears.table);
        let ids: Vec<u64> = table.keys.keys().copied().collect();
        for id in ids {
            table.remove(id);
        }
    }
}

fn gone() -> PyErr {
    PyValueError::new_err("there is no such peer any more")
}

impl Drop for UdpListener {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_when_they_are_whole() {
        let mut buffer = BytesMut::from(&b"\0\x02ab\0\0\0\x03c"[..]);
        assert_eq!(take_frame(&mut buffer).unwrap(), "ab");
        assert_eq!(take_frame(&mut buffer).unwrap(), "");
        assert!(take_frame(&mut buffer).is_none());
        buffer.extend_from_slice(b"de");
        assert_eq!(take_frame(&mut buffer).unwrap(), "cde");
        assert!(take_frame(&mut buffer).is_none());
    }

    #[test]
    fn socks_headers_have_the_length_of_their_address() {
        assert_eq!(header_length(b"\0\0\0\x01\x7f\0\0\x01\0\x35rest"), Some(10));
        assert_eq!(header_length(b"\0\0\0\x03\x02ab\0\x35"), Some(9));
        assert_eq!(
            header_length(&[&b"\0\0\0\x04"[..], &[0; 18]].concat()),
            Some(22)
        );
        for data in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\x01\x01\x7f\0\0\x01\0\x35fragment",
            b"\0\0\0\x02\x7f\0\0\x01\0\x35",
            b"\0\0\0\x03\xffab",
            b"\0\0\0\x01\x7f\0\0\x01\0",
        ] {
            assert_eq!(header_length(data), None, "{data:?}");
        }
    }
}
