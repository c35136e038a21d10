//! QUIC packets in a byte stream (docs/protocol.md 15.1): a TCP connection, a unix socket or a pair of pipes, in place of a
//! UDP socket or beside one.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;

use crate::quic::login_packets::{Bounded, Repeating};
use crate::quic::proven::Proven;
use crate::raw;
use crate::runtime::lock;
use crate::splice::Port;

/// What both sides say first. An HTTP server takes it for a request, and answers at once that it is a bad one.
const GREETING: &[u8] = b"qsh/1 packets\r\n\r\n";
/// A length of 16 bits goes before each packet.
const HEADER: usize = 2;
/// The least that can be a QUIC packet: shorter ones are not even looked at by the engine.
const PACKET_MIN: usize = 21;
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 16;
/// Packets that wait for the engine; a stream that brings more is not read meanwhile.
const INBOX: usize = 256;
/// Packets that the engine hands over at once, as to a UDP socket with GSO.
const SEGMENTS: usize = 10;
/// What a pipe keeps: a terminal's datagrams wait behind it.
const PIPE_BYTES: usize = 1 << 16;
/// Bytes of a stranger's that are kept, to say what it is.
const HEAD_BYTES: usize = 512;
/// How long a server waits for a stream to bring a packet that it answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a stream that is full holds up its connection.
const STALL: Duration = Duration::from_millis(500);
/// Streams of a server that carry no connection; when there are more, the oldest goes of whoever has most of them. An answer alone says nothing: a packet of
/// an unknown version has one, too.
const STRANGERS_MAX: usize = 128;
/// Looks in a row at which a stream carried none, after which it is closed.
const IDLE_LOOKS: u32 = 2;
/// All streams of a server.
const STREAMS_MAX: usize = 4096;

/// Why a stream is over, and the first bytes of somebody who speaks otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// `end` of the bytes, `stranger`, `malformed`, `idle`, `closed` (by us), or the system's error.
    pub(crate) why: String,
    pub(crate) head: Bytes,
}

impl End {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            head: Bytes::new(),
        }
    }
}

/// One packet that has come.
struct Packet {
    peer: SocketAddr,
    local: Option<IpAddr>,
    data: Bytes,
}

/// A transmit as it goes into the stream: each of its packets behind its length.
fn framed(contents: &[u8], segment: Option<usize>) -> Bytes {
    let size = segment.unwrap_or(contents.len()).max(1);
    let count = contents.len().div_ceil(size);
    let mut out = BytesMut::with_capacity(contents.len() + count * HEADER);
    for packet in contents.chunks(size) {
        let Ok(length) = u16::try_from(packet.len()) else {
            continue; // quinn makes none
        };
        out.put_u16(length);
        out.put_slice(packet);
    }
    out.freeze()
}

/// The stream's bytes taken apart.
struct Deframer {
    buffer: BytesMut,
    greeted: bool,
    /// Bytes of others that may go before the greeting.
    noise: usize,
}

impl Deframer {
    fn new(noise: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            greeted: false,
            noise,
        }
    }

    fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    fn head(&self) -> Bytes {
        let length = self.buffer.len().min(HEAD_BYTES);
        Bytes::copy_from_slice(&self.buffer[..length])
    }

    /// Whether the greeting has come. Err: it never will.
    fn greeting(&mut self) -> Result<bool, End> {
        if self.greeted {
            return Ok(true);
        }
        if let Some(at) = memchr::memmem::find(&self.buffer, GREETING)
            && at <= self.noise
        {
            self.buffer.advance(at + GREETING.len());
            self.greeted = true;
            return Ok(true);
        }
        let clean = self.noise == 0 && !GREETING.starts_with(&self.buffer);
        if clean || self.buffer.len() > self.noise + GREETING.len() {
            return Err(End {
                why: "stranger".into(),
                head: self.head(),
            });
        }
        Ok(false)
    }

    /// The next whole packet.
    fn packet(&mut self) -> Result<Option<Bytes>, End> {
        if !self.greeting()? || self.buffer.len() < HEADER {
            return Ok(None);
        }
        let length = usize::from(u16::from_be_bytes([self.buffer[0], self.buffer[1]]));
        if length < PACKET_MIN {
            return Err(End::new("malformed"));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// What waits to be written.
#[derive(Default)]
struct Out {
    /// A batch of packets that the kernel took only in part. A packet once begun is written to its end.
    rest: Bytes,
    closed: bool,
    /// Nothing was taken for `STALL`: what comes is lost, since the connection may have gone elsewhere and must not be held up.
    stalled: bool,
    waiting: Vec<Waker>,
}

/// One stream.
struct Line {
    peer: SocketAddr,
    local: Option<IpAddr>,
    port: AsyncFd<Port>,
    out: Mutex<Out>,
    flush: Notify,
    stop: Notify,
    heard: AtomicBool,
    answered: AtomicBool,
    /// A connection has begun on it, or was here at the last look.
    carries: AtomicBool,
    idle_looks: AtomicU32,
    idle: Notify,
}

impl Line {
    /// Who goes first: who means it says something at once, and is answered.
    fn standing(&self) -> (bool, bool, u32) {
        let answered = self.answered.load(Ordering::Relaxed);
        let heard = self.heard.load(Ordering::Relaxed);
        (answered, heard, stream_number(self.peer))
    }

    fn look(&self, carries: bool) {
        self.carries.store(carries, Ordering::Relaxed);
        if carries || !self.answered.load(Ordering::Relaxed) {
            self.idle_looks.store(0, Ordering::Relaxed);
        } else if self.idle_looks.fetch_add(1, Ordering::Relaxed) + 1 >= IDLE_LOOKS {
            self.idle.notify_one();
        }
    }

    /// False: full. What goes to a stream that is over is lost, as on any way that is gone.
    fn send(&self, data: Bytes) -> bool {
        let mut out = lock(&self.out);
        if out.closed {
            return true;
        }
        if !out.rest.is_empty() {
            return out.stalled;
        }
        match self.port.get_ref().write(std::slice::from_ref(&data)) {
            Ok(n) if n == data.len() => return true,
            Ok(n) => out.rest = data.slice(n..),
            Err(Errno::AGAIN) => out.rest = data,
            Err(_) => {
                out.closed = true;
                self.stop.notify_one();
                return true;
            }
        }
        self.flush.notify_one();
        true
    }

    /// Whether `send` takes something; if not, `waker` is woken when it does.
    fn poll_room(&self, waker: &Waker) -> bool {
        let mut out = lock(&self.out);
        if out.closed || out.stalled || out.rest.is_empty() {
            return true;
        }
        if !out.waiting.iter().any(|other| other.will_wake(waker)) {
            out.waiting.push(waker.clone());
        }
        false
    }

    /// Write what is left, whenever there is something. Ends with the stream.
    async fn write(&self) -> End {
        loop {
            self.flush.notified().await;
            while !lock(&self.out).rest.is_empty() {
                let writable = self.port.writable();
                let mut ready = match tokio::time::timeout(STALL, writable).await {
                    Ok(Ok(ready)) => ready,
                    Ok(Err(error)) => return End::new(error.to_string()),
                    Err(_elapsed) => {
                        let mut out = lock(&self.out);
                        out.stalled = true;
                        out.waiting.drain(..).for_each(Waker::wake);
                        continue;
                    }
                };
                match self.write_some() {
                    Ok(()) => {}
                    Err(Errno::AGAIN) => ready.clear_ready(),
                    Err(error) => return End::new(error.to_string()),
                }
            }
        }
    }

    fn write_some(&self) -> Result<(), Errno> {
        let mut out = lock(&self.out);
        let written = self.port.get_ref().write(std::slice::from_ref(&out.rest))?;
        out.rest.advance(written);
        out.stalled = false;
        if out.rest.is_empty() {
            out.waiting.drain(..).for_each(Waker::wake);
        }
        Ok(())
    }

    /// Packets on their way to the engine, until the stream's end.
    async fn read(&self, port: AsyncFd<Port>, noise: usize, inbox: mpsc::Sender<Packet>) -> End {
        let mut deframer = Deframer::new(noise);
        let mut scratch = Vec::with_capacity(READ_BYTES);
        loop {
            let mut ready = match port.readable().await {
                Ok(ready) => ready,
                Err(error) => return End::new(error.to_string()),
            };
            scratch.clear();
            match port.get_ref().read(&mut scratch) {
                Ok(0) => {
                    let head = if deframer.greeted {
                        Bytes::new()
                    } else {
                        deframer.head()
                    };
                    return End {
                        why: "end".into(),
                        head,
                    };
                }
                Ok(_) => {}
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                Err(error) => return End::new(error.to_string()),
            }
            deframer.push(&scratch);
            loop {
                let data = match deframer.packet() {
                    Ok(Some(data)) => data,
                    Ok(None) => break,
                    Err(end) => return end,
                };
                self.heard.store(true, Ordering::Relaxed);
                let (peer, local) = (self.peer, self.local);
                if inbox.send(Packet { peer, local, data }).await.is_err() {
                    return End::new("closed");
                }
            }
        }
    }

    fn close(&self) {
        let mut out = lock(&self.out);
        out.closed = true;
        out.rest = Bytes::new();
        out.waiting.drain(..).for_each(Waker::wake);
        self.port.get_ref().shutdown_write();
    }
}

/// The streams of one socket.
pub(crate) struct Streams {
    lines: Mutex<HashMap<SocketAddr, (Arc<Line>, AbortHandle)>>,
    inbox: mpsc::Sender<Packet>,
    numbers: AtomicU32,
}

/// What a stream is made of.
pub(crate) struct Descriptors {
    pub(crate) read: RawFd,
    pub(crate) write: RawFd,
}

/// Whether this is the address of a stream of a server's, which no UDP socket has.
pub(crate) fn stream_number(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V6(v6) => v6.flowinfo(),
        SocketAddr::V4(_) => 0,
    }
}

/// The kernel tells no flow label with a packet, so one that is set sets an address apart from all of UDP's.
fn marked(address: SocketAddr, number: u32) -> SocketAddr {
    let (ip, scope) = match address {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
    };
    SocketAddrV6::new(ip, address.port(), number, scope).into()
}

/// Whoever has one IPv6 address has the whole /64.
fn source(address: SocketAddr) -> u128 {
    match address.ip() {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => u32::from(v4).into(),
            None => u128::from(v6) >> 64 << 64,
        },
    }
}

fn open(fd: RawFd, mode: OFlags) -> io::Result<Port> {
    let port = Port::new(raw::duplicate(fd)?, false, mode)?;
    if port.needs_thread() || port.never_blocks() {
        return Err(Errno::NOTSOCK.into());
    }
    let _ = rustix::pipe::fcntl_setpipe_size(port.fd(), PIPE_BYTES);
    Ok(port)
}

fn own_address(fd: &Port) -> Option<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(fd.fd()).ok()?).ok()
}

impl Streams {
    /// A stream to `peer`, which is its address. Inside the runtime. The future ends with it.
    fn start(
        self: &Arc<Self>,
        fds: &Descriptors,
        peer: SocketAddr,
        noise: usize,
        patience: Option<Duration>,
    ) -> io::Result<impl Future<Output = End> + Send + use<>> {
        let port = open(fds.write, OFlags::WRONLY)?;
        let local = own_address(&port).map(|address| address.ip());
        let reader = raw::watch(open(fds.read, OFlags::RDONLY)?, Interest::READABLE)?;
        let line = Arc::new(Line {
            peer,
            local,
            port: raw::watch(port, Interest::WRITABLE)?,
            out: Mutex::default(),
            flush: Notify::new(),
            stop: Notify::new(),
            heard: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            carries: AtomicBool::new(false),
            idle_looks: AtomicU32::new(0),
            idle: Notify::new(),
        });
        line.send(Bytes::from_static(GREETING));
        let (streams, inbox) = (Arc::downgrade(self), self.inbox.clone());
        let kept = line.clone();
        let mut lines = lock(&self.lines); // so that it is not removed before it is there
        let running = tokio::spawn(async move {
            let idle = async {
                match patience {
                    Some(limit) => tokio::time::sleep(limit).await,
                    None => std::future::pending().await,
                }
                if line.answered.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            };
            let end = tokio::select! {
                end = line.read(reader, noise, inbox) => end,
                end = line.write() => end,
                () = line.stop.notified() => End::new("closed"),
                () = idle => End::new("idle"),
                () = line.idle.notified() => End::new("idle"),
            };
            line.close();
            if let Some(streams) = streams.upgrade() {
                lock(&streams.lines).remove(&peer);
            }
            end
        });
        lines.insert(peer, (kept, running.abort_handle()));
        drop(lines);
        Ok(async move { running.await.unwrap_or_else(|_| End::new("closed")) })
    }

    /// One more stream of a server's, from a peer that says to be `address`.
    pub(crate) fn add(
        self: &Arc<Self>,
        fds: &Descriptors,
        address: SocketAddr,
    ) -> io::Result<impl Future<Output = End> + Send + use<>> {
        self.make_room()?;
        let number = loop {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            if number != 0 {
                break number;
            }
        };
        self.start(fds, marked(address, number), 0, Some(PATIENCE))
    }

    fn make_room(&self) -> io::Result<()> {
        let mut lines = lock(&self.lines);
        let strangers: Vec<_> = lines
            .iter()
            .filter(|(_, (line, _))| !line.carries.load(Ordering::Relaxed))
            .map(|(peer, (line, _))| (line.standing(), *peer))
            .collect();
        if lines.len() < STREAMS_MAX && strangers.len() < STRANGERS_MAX {
            return Ok(());
        }
        let mut crowds: HashMap<u128, usize> = HashMap::new();
        for (_, peer) in &strangers {
            *crowds.entry(source(*peer)).or_default() += 1;
        }
        let oldest = strangers
            .into_iter()
            .min_by_key(|(standing, peer)| (Reverse(crowds[&source(*peer)]), *standing))
            .and_then(|(_, peer)| lines.remove(&peer));
        let Some((line, _)) = oldest else {
            return Err(Errno::MFILE.into());
        };
        line.stop.notify_one();
        Ok(())
    }

    fn find(&self, peer: SocketAddr) -> Option<Arc<Line>> {
        lock(&self.lines).get(&peer).map(|(line, _)| line.clone())
    }

    /// A connection begins on the stream of this peer, if it is one.
    pub(crate) fn carries(&self, peer: SocketAddr) {
        if let Some(line) = self.find(peer) {
            line.carries.store(true, Ordering::Relaxed);
        }
    }

    /// The streams that carry connections now; another that was answered is closed when it is not among them twice in a row.
    pub(crate) fn keep(&self, numbers: &HashSet<u32>) {
        for (peer, (line, _)) in lock(&self.lines).iter() {
            line.look(numbers.contains(&stream_number(*peer)));
        }
    }

    /// Close the stream with this number, if there is one.
    pub(crate) fn close(&self, number: u32) {
        for (peer, (line, _)) in lock(&self.lines).iter() {
            if stream_number(*peer) == number {
                line.stop.notify_one();
            }
        }
    }

    pub(crate) fn close_all(&self) {
        for (line, _) in lock(&self.lines).values() {
            line.stop.notify_one();
        }
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.lines).len()
    }
}

/// Whose endpoint it is.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What an endpoint writes to, and how its own stream ends, if it has one.
pub(crate) struct Carrier {
    pub(crate) socket: Arc<dyn AsyncUdpSocket>,
    /// A client's, while its login may be under way.
    pub(crate) login: Option<Arc<Repeating>>,
    /// A server's.
    pub(crate) proven: Option<Arc<Proven>>,
    pub(crate) streams: Option<Arc<Streams>>,
    /// Whether there may be more of them.
    pub(crate) beside: bool,
    end: Option<watch::Receiver<Option<End>>>,
}

impl Carrier {
    /// A UDP socket, with room for streams beside it if wanted. Inside the runtime.
    pub(crate) fn udp(
        socket: std::net::UdpSocket,
        streams: bool,
        login: Option<Side>,
    ) -> io::Result<Self> {
        let mut socket = TokioRuntime.wrap_udp_socket(socket)?;
        let mut repeating = None;
        let mut proven = None;
        match login {
            Some(Side::Client) => {
                let client = Arc::new(Repeating::new(socket));
                repeating = Some(client.clone());
                socket = client;
            }
            Some(Side::Server) => {
                let bounded = Arc::new(Bounded::new(socket));
                proven = Some(bounded.proven.clone());
                socket = bounded;
            }
            None => {}
        }
        if !streams {
            return Ok(Self {
                socket,
                login: repeating,
                proven,
                streams: None,
                beside: false,
                end: None,
            });
        }
        let socket = Arc::new(PacketSocket::beside(socket)?);
        Ok(Self {
            streams: Some(socket.streams.clone()),
            socket,
            login: repeating,
            proven,
            beside: true,
            end: None,
        })
    }

    /// One stream. Inside the runtime.
    pub(crate) fn stream(fds: &Descriptors, peer: SocketAddr, noise: usize) -> io::Result<Self> {
        let (socket, ended) = PacketSocket::alone(fds, peer, noise)?;
        let (sender, end) = watch::channel(None);
        tokio::spawn(async move { sender.send_replace(Some(ended.await)) });
        Ok(Self {
            streams: Some(socket.streams.clone()),
            socket: Arc::new(socket),
            login: None,
            proven: None,
            beside: false,
            end: Some(end),
        })
    }

    /// The end of its own stream.
    pub(crate) fn end(&self) -> Option<impl Future<Output = End> + Send + use<>> {
        let mut end = self.end.clone()?;
        Some(async move {
            match end.wait_for(Option::is_some).await {
                Ok(end) => end.clone().unwrap_or_else(|| End::new("closed")),
                Err(_) => End::new("closed"),
            }
        })
    }
}

thread_local! {
    /// The poller that has just said that one may write, and the stream that was full nevertheless.
    ///
    /// A poller is asked before each packet, but not told where it goes: a server's pollers are asked for one socket with many
    /// streams. The attempt that follows is made by the same thread, with nothing between.
    static ATTEMPT: std::cell::RefCell<(usize, Option<Arc<Line>>)> = const { std::cell::RefCell::new((0, None)) };
}

static POLLERS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);

/// UDP, streams, or both, as the engine sees them.
struct PacketSocket {
    streams: Arc<Streams>,
    udp: Option<Arc<dyn AsyncUdpSocket>>,
    local: SocketAddr,
    inbox: Mutex<mpsc::Receiver<Packet>>,
    streams_first: AtomicBool,
}

impl PacketSocket {
    fn new(udp: Option<Arc<dyn AsyncUdpSocket>>, local: SocketAddr) -> Self {
        let (sender, inbox) = mpsc::channel(INBOX);
        Self {
            streams: Arc::new(Streams {
                lines: Mutex::default(),
                inbox: sender,
                numbers: AtomicU32::new(1),
            }),
            udp,
            local,
            inbox: Mutex::new(inbox),
            streams_first: AtomicBool::new(false),
        }
    }

    /// A server's UDP socket, and streams that are added.
    fn beside(udp: Arc<dyn AsyncUdpSocket>) -> io::Result<Self> {
        let local = udp.local_addr()?;
        Ok(Self::new(Some(udp), local))
    }

    /// One stream, whose other end counts as `peer`. Inside the runtime.
    fn alone(
        fds: &Descriptors,
        peer: SocketAddr,
        noise: usize,
    ) -> io::Result<(Self, impl Future<Output = End> + Send + use<>)> {
        let any = if peer.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let own = own_address(&open(fds.write, OFlags::WRONLY)?);
        let local = own.filter(|own| own.is_ipv4() == peer.is_ipv4());
        let socket = Self::new(None, local.unwrap_or(SocketAddr::new(any, 0)));
        let end = socket.streams.start(fds, peer, noise, None)?;
        Ok((socket, end))
    }

    fn poll_streams(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = lock(&self.inbox);
        let mut count = 0;
        while count < bufs.len().min(meta.len()) {
            let Poll::Ready(Some(packet)) = inbox.poll_recv(cx) else {
                break;
            };
            let length = packet.data.len();
            let Some(place) = bufs[count].get_mut(..length) else {
                continue; // larger than the engine takes
            };
            place.copy_from_slice(&packet.data);
            meta[count] = RecvMeta {
                addr: packet.peer,
                len: length,
                stride: length,
                ecn: None,
                dst_ip: packet.local,
            };
            count += 1;
        }
        if count == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }
}

impl Drop for PacketSocket {
    fn drop(&mut self) {
        for (_, (line, task)) in lock(&self.streams.lines).drain() {
            line.close();
            task.abort();
        }
    }
}

impl fmt::Debug for PacketSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketSocket").finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for PacketSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller {
            number: POLLERS.fetch_add(1, Ordering::Relaxed),
            full: None,
            udp: self.udp.clone().map(AsyncUdpSocket::create_io_poller),
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let poller = ATTEMPT.with_borrow_mut(|attempt| std::mem::take(&mut attempt.0));
        if let Some(line) = self.streams.find(transmit.destination) {
            line.answered.store(true, Ordering::Relaxed);
            if line.send(framed(transmit.contents, transmit.segment_size)) {
                return Ok(());
            }
            ATTEMPT.set((poller, (poller != 0).then_some(line)));
            return Err(ErrorKind::WouldBlock.into());
        }
        match &self.udp {
            Some(udp) if stream_number(transmit.destination) == 0 => udp.try_send(transmit),
            _ => Ok(()), // a stream that is over
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some(udp) = &self.udp else {
            return self.poll_streams(cx, bufs, meta);
        };
        // In turn, so that neither keeps the other waiting.
        if self.streams_first.fetch_xor(true, Ordering::Relaxed) {
            match self.poll_streams(cx, bufs, meta) {
                Poll::Pending => udp.poll_recv(cx, bufs, meta),
                ready @ Poll::Ready(_) => ready,
            }
        } else {
            match udp.poll_recv(cx, bufs, meta) {
                Poll::Pending => self.poll_streams(cx, bufs, meta),
                ready @ Poll::Ready(_) => ready,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp
            .as_ref()
            .map_or(SEGMENTS, |udp| udp.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.udp
            .as_ref()
            .map_or(1, |udp| udp.max_receive_segments())
    }

    fn may_fragment(&self) -> bool {
        self.udp.as_ref().is_some_and(|udp| udp.may_fragment())
    }
}

/// Waits for the stream that its connection writes to.
struct Poller {
    number: usize,
    full: Option<Arc<Line>>,
    udp: Option<Pin<Box<dyn UdpPoller>>>,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ATTEMPT.with_borrow_mut(|(poller, line)| {
            if *poller == self.number
                && let Some(line) = line.take()
            {
                self.full = Some(line);
            }
            (*poller, *line) = (0, None);
        });
        if let Some(line) = &self.full {
            if !line.poll_room(cx.waker()) {
                return Poll::Pending;
            }
            self.full = None;
        }
        if let Some(udp) = &mut self.udp
            && udp.as_mut().poll_writable(cx)?.is_pending()
        {
            return Poll::Pending;
        }
        ATTEMPT.set((self.number, None));
        Poll::Ready(Ok(()))
    }
}
