//! Packets of a login on a path that loses many: more copies of each, and never more than thrice what came.
//!
//! QUIC resends after a time that doubles; a login is a few flights, each of which needs all of its packets. So a client that has
//! no answer sends its last packets again, byte by byte (a receiver drops what it has already), and from then on each packet twice.
//! A server that gets a packet of a handshake twice does so, too, as far as an address that may be forged can be sent (RFC 9000
//! 8.1): here that is kept to the byte, where quinn sends one more packet whole when any of the budget is left.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::runtime::lock;

/// Packets that are kept to be sent again: the larger of a login's flights.
const KEPT: usize = 6;
/// Copies of one packet, at most.
const COPIES: u8 = 4;
/// Packets of a client until its login counts as over, whatever it says.
const LOGIN_PACKETS: u32 = 64;
/// The largest that is copied; a login has none that is larger, a search for the path's MTU has.
const COPY_MAX: usize = 1472;
/// RFC 9000 8.1.
const FACTOR: u64 = 3;
/// Addresses whose handshakes are watched, and for how long: a handshake takes half a minute at most.
const ADDRESSES: usize = 4096;
const WATCHED: Duration = Duration::from_secs(40);
/// The seals of so many packets are remembered of each, to know a copy.
const SEALS: usize = 4;
const SEAL: usize = 16;
/// Packets after the handshake that go twice to who sends twice, and until when.
const ANSWERS: u8 = 24;
const ANSWERED: Duration = Duration::from_secs(5);

/// A packet of a handshake, not of an established connection.
fn is_long(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0x80 != 0)
}

/// From a client such a one is in answer to what it was sent: the address is its own (RFC 9000 8.1). Anybody can send one that
/// looks so; then the engine's own limit holds, which is one packet more.
fn is_answer(packet: &[u8]) -> bool {
    packet
        .first()
        .is_some_and(|first| first & 0x80 == 0 || first & 0x30 == 0x20)
}

fn packets<'a>(transmit: &Transmit<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let size = transmit.segment_size.unwrap_or(transmit.contents.len());
    transmit.contents.chunks(size.max(1))
}

fn part<'a>(transmit: &Transmit<'a>, contents: &'a [u8]) -> Transmit<'a> {
    Transmit {
        destination: transmit.destination,
        ecn: transmit.ecn,
        contents,
        segment_size: None,
        src_ip: transmit.src_ip,
    }
}

/// What a client has sent in its login.
#[derive(Debug, Default)]
struct Sent {
    kept: VecDeque<(SocketAddr, Vec<u8>, u8)>,
    packets: u32,
    twice: bool,
}

/// A client's socket, as long as a login may be under way.
pub(crate) struct Repeating {
    inner: Arc<dyn AsyncUdpSocket>,
    over: AtomicBool,
    sent: Mutex<Sent>,
}

impl Repeating {
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        Self {
            inner,
            over: AtomicBool::new(false),
            sent: Mutex::default(),
        }
    }

    /// Nothing has come for a while: send again what may have been lost, and each packet twice from now on.
    pub(crate) fn again(&self) {
        if self.over.load(Ordering::Relaxed) {
            return;
        }
        let mut sent = lock(&self.sent);
        sent.twice = true;
        for (destination, packet, copies) in &mut sent.kept {
            if *copies < COPIES {
                *copies += 1;
                self.copy(*destination, packet);
            }
        }
    }

    /// The login is over: whatever is lost now is the engine's affair.
    pub(crate) fn settle(&self) {
        self.over.store(true, Ordering::Relaxed);
        *lock(&self.sent) = Sent::default();
    }

    fn copy(&self, destination: SocketAddr, contents: &[u8]) {
        // What cannot be sent is lost, as a packet may be.
        let _lost = self.inner.try_send(&Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        });
    }

    fn keep(&self, transmit: &Transmit<'_>) {
        let mut sent = lock(&self.sent);
        for packet in packets(transmit).filter(|packet| packet.len() <= COPY_MAX) {
            if sent.kept.len() == KEPT {
                sent.kept.pop_front();
            }
            let copies = u8::from(sent.twice);
            if sent.twice {
                self.copy(transmit.destination, packet);
            }
            let kept = (transmit.destination, packet.to_vec(), copies);
            sent.kept.push_back(kept);
            sent.packets += 1;
        }
        let is_over = sent.packets >= LOGIN_PACKETS;
        drop(sent);
        if is_over {
            self.settle();
        }
    }
}

/// Of one address.
#[derive(Debug)]
struct Peer {
    since: Instant,
    received: u64,
    sent: u64,
    /// A packet has come that only who got ours can make. Until then all packets count, later those of handshakes.
    answered: bool,
    seals: VecDeque<[u8; SEAL]>,
    /// Packets that still go twice.
    copies: u8,
}

/// What a server knows of those who are shaking hands.
#[derive(Debug)]
struct Peers {
    known: HashMap<SocketAddr, Peer>,
    swept: Instant,
    /// Of `known`, those that have not answered.
    unanswered: usize,
}

impl Peers {
    fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            swept: now,
            unanswered: 0,
        }
    }

    /// A packet of a handshake has come; whether it is a copy.
    fn received(&mut self, now: Instant, address: SocketAddr, packet: &[u8]) -> bool {
        if now.duration_since(self.swept) > WATCHED {
            self.swept = now;
            self.known
                .retain(|_, peer| now.duration_since(peer.since) < WATCHED);
            self.unanswered = self.known.values().filter(|peer| !peer.answered).count();
        }
        if self.known.len() >= ADDRESSES && !self.known.contains_key(&address) {
            return false;
        }
        let unanswered = &mut self.unanswered;
        let peer = self.known.entry(address).or_insert_with(|| {
            *unanswered += 1;
            Peer {
                since: now,
                received: 0,
                sent: 0,
                answered: false,
                seals: VecDeque::with_capacity(SEALS),
                copies: 0,
            }
        });
        if !peer.answered && is_answer(packet) {
            peer.answered = true;
            *unanswered -= 1;
        }
        peer.since = now;
        peer.received += packet.len() as u64;
        let Some(seal) = packet.last_chunk::<SEAL>() else {
            return false;
        };
        if peer.seals.contains(seal) {
            peer.copies = ANSWERS;
            return true;
        }
        if peer.seals.len() == SEALS {
            peer.seals.pop_front();
        }
        peer.seals.push_back(*seal);
        false
    }

    /// How often a packet may go now, and is wanted: it counts as sent.
    fn times(&mut self, address: SocketAddr, packet: &[u8]) -> u8 {
        let Some(peer) = self.known.get_mut(&address) else {
            return 1;
        };
        let wanted = if packet.len() <= COPY_MAX && peer.copies > 0 {
            2
        } else {
            1
        };
        let size = packet.len() as u64;
        let counts = is_long(packet) || !peer.answered;
        let mut times = 0;
        while times < wanted {
            // A copy always counts: that the address has answered may be forged, and the engine's limit knows of no copies.
            let this_counts = counts || times > 0;
            if this_counts && peer.sent + size > FACTOR * peer.received {
                break;
            }
            times += 1;
            if this_counts {
                peer.sent += size;
            }
        }
        if times == 2 && !is_long(packet) {
            peer.copies -= 1;
        }
        times
    }

    /// It could not be sent.
    fn take_back(&mut self, address: SocketAddr, packet: &[u8], times: u8) {
        if let Some(peer) = self.known.get_mut(&address)
            && (is_long(packet) || !peer.answered)
        {
            let size = u64::from(times) * packet.len() as u64;
            peer.sent = peer.sent.saturating_sub(size);
        }
    }

    /// A packet of an established connection has come.
    fn answered(&mut self, address: SocketAddr) {
        if let Some(peer) = self.known.get_mut(&address)
            && !peer.answered
        {
            peer.answered = true;
            self.unanswered -= 1;
        }
    }

    /// Whether packets of established connections, too, are looked at one by one.
    fn is_watched(&self, address: SocketAddr) -> bool {
        self.known
            .get(&address)
            .is_some_and(|peer| !peer.answered || peer.copies > 0)
    }
}

/// A server's socket.
pub(crate) struct Bounded {
    inner: Arc<dyn AsyncUdpSocket>,
    start: Instant,
    /// Milliseconds after `start` until which somebody may get packets twice.
    twice_until: AtomicU64,
    /// Somebody has not answered yet.
    watching: AtomicBool,
    peers: Mutex<Peers>,
}

impl Bounded {
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        let start = Instant::now();
        Self {
            inner,
            start,
            twice_until: AtomicU64::new(0),
            watching: AtomicBool::new(false),
            peers: Mutex::new(Peers::new(start)),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    fn note(&self, address: SocketAddr, packet: &[u8]) {
        let now = Instant::now();
        let mut peers = lock(&self.peers);
        let is_copy = peers.received(now, address, packet);
        self.watching.store(peers.unanswered > 0, Ordering::Relaxed);
        drop(peers);
        if is_copy {
            let until = self.millis(now + ANSWERED);
            self.twice_until.fetch_max(until, Ordering::Relaxed);
        }
    }

    fn note_answer(&self, address: SocketAddr) {
        let mut peers = lock(&self.peers);
        peers.answered(address);
        self.watching.store(peers.unanswered > 0, Ordering::Relaxed);
    }

    /// Whether nobody gets anything twice, which is nearly always so.
    fn is_plain(&self) -> bool {
        let until = self.twice_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let over = self.millis(Instant::now()) > until;
        if over {
            // A copy that comes at this very moment may be answered once.
            self.twice_until.store(0, Ordering::Relaxed);
        }
        over
    }
}

impl AsyncUdpSocket for Repeating {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)?;
        if !self.over.load(Ordering::Relaxed) {
            self.keep(transmit);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl AsyncUdpSocket for Bounded {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let watching = self.watching.load(Ordering::Relaxed);
        if !is_long(transmit.contents)
            && ((!watching && self.is_plain())
                || !lock(&self.peers).is_watched(transmit.destination))
        {
            return self.inner.try_send(transmit);
        }
        for packet in packets(transmit) {
            let times = lock(&self.peers).times(transmit.destination, packet);
            for number in 0..times {
                if let Err(error) = self.inner.try_send(&part(transmit, packet)) {
                    if number > 0 {
                        break; // a copy is not worth waiting for
                    }
                    lock(&self.peers).take_back(transmit.destination, packet, times);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let ready = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = &ready {
            for (buffer, meta) in bufs.iter().zip(meta.iter()).take(*count) {
                let data = &buffer[..meta.len];
                for packet in data.chunks(meta.stride.max(1)) {
                    if is_long(packet) {
                        self.note(meta.addr, packet);
                    } else if self.watching.load(Ordering::Relaxed) {
                        self.note_answer(meta.addr);
                    }
                }
            }
        }
        ready
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl fmt::Debug for Repeating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeating").finish_non_exhaustive()
    }
}

impl fmt::Debug for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn packet(first: u8, size: usize, seal: u8) -> Vec<u8> {
        let mut data = vec![seal; size];
        data[0] = first;
        data
    }

    #[test]
    fn an_address_gets_three_times_what_came_and_not_a_byte_more() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        peers.received(now, address(1), &packet(0xc0, 1200, 1));
        let flight = packet(0xc0, 1150, 9);
        let sent: u64 = (0..9)
            .map(|_| u64::from(peers.times(address(1), &flight)) * 1150)
            .sum();
        assert_eq!(sent, 3 * 1150);
        assert_eq!(peers.times(address(1), &packet(0xc0, 151, 9)), 0);
        assert_eq!(peers.times(address(1), &packet(0xc0, 150, 9)), 1);
        assert_eq!(
            peers.times(address(1), &packet(0x40, 1, 9)),
            0,
            "nor early data"
        );
        assert!(peers.is_watched(address(1)));
        peers.received(now, address(1), &packet(0xe0, 50, 2));
        assert_eq!(
            peers.times(address(1), &packet(0x40, 1200, 9)),
            1,
            "it has answered"
        );
        assert_eq!(peers.times(address(1), &packet(0xc0, 151, 9)), 0);
        assert!(!peers.is_watched(address(1)));
        assert_eq!(peers.unanswered, 0);
        assert_eq!(peers.times(address(2), &flight), 1, "of nobody known");
    }

    #[test]
    fn who_sends_twice_gets_twice_for_a_while() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        let (one, two) = (packet(0xc0, 1200, 1), packet(0xc0, 1200, 2));
        assert!(!peers.received(now, address(1), &one));
        assert!(!peers.received(now, address(1), &two));
        assert_eq!(peers.times(address(1), &packet(0x40, 100, 9)), 1);
        assert!(peers.received(now, address(1), &one));
        assert_eq!(peers.times(address(1), &packet(0xc0, 1200, 9)), 2);
        peers.answered(address(1));
        assert_eq!(peers.times(address(1), &packet(0x40, 5000, 9)), 1);
        for _ in 0..ANSWERS {
            assert_eq!(peers.times(address(1), &packet(0x40, 100, 9)), 2);
        }
        assert_eq!(peers.times(address(1), &packet(0x40, 100, 9)), 1);
    }

    #[test]
    fn an_answer_that_is_forged_gets_no_copies_beyond_the_limit() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        let one = packet(0xc0, 1200, 1);
        peers.received(now, address(1), &one);
        peers.received(now, address(1), &one);
        peers.answered(address(1));
        let copies: u64 = (0..ANSWERS)
            .map(|_| u64::from(peers.times(address(1), &packet(0x40, 1200, 9))) - 1)
            .sum();
        assert_eq!(copies, 6, "three times the two that came");
    }

    #[test]
    fn addresses_are_few_and_forgotten() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        for port in 0..5000 {
            peers.received(now, address(port), &packet(0xc0, 1200, 1));
        }
        assert_eq!(peers.known.len(), ADDRESSES);
        let later = now + 2 * WATCHED;
        peers.received(later, address(6000), &packet(0xc0, 1200, 1));
        assert_eq!(peers.known.len(), 1);
    }
}
