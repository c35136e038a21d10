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

use crate::quic::proven::{FACTOR, Proven};
use crate::runtime::lock;

/// Packets that are kept to be sent again: the larger of a login's flights.
const KEPT: usize = 6;
/// Copies of one packet, at most.
const COPIES: u8 = 4;
/// Packets of a client until its login counts as over, whatever it says.
const LOGIN_PACKETS: u32 = 64;
/// The largest that is copied; a login has none that is larger, a search for the path's MTU has.
const COPY_MAX: usize = 1472;
/// Addresses whose handshakes are watched, and for how long: a handshake takes half a minute at most.
const ADDRESSES: usize = 4096;
const WATCHED: Duration = Duration::from_secs(40);
/// The seals of so many packets are remembered of each, to know a copy.
const SEALS: usize = 4;
const SEAL: usize = 16;
/// Connection ids that we have told an address.
const IDS: usize = 4;
/// Of the ids that a server gives out.
const ID: usize = 8;
/// Packets after the handshake that go twice to who sends twice, and until when.
const ANSWERS: u8 = 24;
const ANSWERED: Duration = Duration::from_secs(5);

/// A packet of a handshake, not of an established connection.
fn is_long(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0x80 != 0)
}

/// The connection ids in the header of a packet of a handshake: the receiver's, the sender's.
fn ids(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&size, rest) = packet.get(5..)?.split_first()?;
    let (to, rest) = rest.split_at_checked(size.into())?;
    let (&size, rest) = rest.split_first()?;
    Some((to, rest.get(..size.into())?))
}

/// The connection id that a packet goes to.
fn id_of(packet: &[u8]) -> Option<&[u8]> {
    if is_long(packet) {
        ids(packet).map(|(to, _)| to)
    } else {
        packet.get(1..=ID)
    }
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
    /// A packet has come with a connection id that only who got ours can know. Until then all packets count, later those of handshakes.
    answered: bool,
    told: VecDeque<Vec<u8>>,
    seals: VecDeque<[u8; SEAL]>,
    /// Packets that still go twice.
    copies: u8,
}

impl Peer {
    /// RFC 9000 8.1: the address is its own.
    fn is_answer(&self, packet: &[u8]) -> bool {
        id_of(packet).is_some_and(|id| self.told.iter().any(|told| told == id))
    }

    fn tell(&mut self, packet: &[u8]) {
        let negotiates = packet.get(1..5) == Some(&[0; 4]); // which repeats an id of the client's choice
        let Some((_, id)) = ids(packet).filter(|(_, id)| !id.is_empty() && !negotiates) else {
            return;
        };
        if !self.told.iter().any(|told| told == id) {
            if self.told.len() == IDS {
                self.told.pop_front();
            }
            self.told.push_back(id.to_vec());
        }
    }
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
                told: VecDeque::new(),
                seals: VecDeque::with_capacity(SEALS),
                copies: 0,
            }
        });
        if !peer.answered && peer.is_answer(packet) {
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

    /// How often a packet may go now, and is wanted: it counts as sent. `proven`: the address is, by another connection perhaps.
    fn times(&mut self, address: SocketAddr, packet: &[u8], proven: bool) -> u8 {
        let Some(peer) = self.known.get_mut(&address) else {
            return 1;
        };
        let wanted = if packet.len() <= COPY_MAX && peer.copies > 0 {
            2
        } else {
            1
        };
        let size = packet.len() as u64;
        let counts = is_long(packet) || !(peer.answered || proven);
        if is_long(packet) {
            peer.tell(packet);
        }
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

    /// A packet of an established connection has come; whether its sender has answered, now or before.
    fn answered(&mut self, address: SocketAddr, packet: &[u8]) -> bool {
        let Some(peer) = self.known.get_mut(&address) else {
            return false;
        };
        if !peer.answered && peer.is_answer(packet) {
            peer.answered = true;
            self.unanswered -= 1;
        }
        peer.answered
    }

    /// What holds for packets of established connections.
    fn stance(&self, address: SocketAddr, proven: bool) -> Stance {
        match self.known.get(&address) {
            Some(peer) if peer.copies > 0 => Stance::Watched,
            Some(peer) if peer.answered => Stance::Free,
            _ if proven => Stance::Free,
            Some(_) => Stance::Unanswered,
            None => Stance::Unknown,
        }
    }
}

/// How packets of established connections go to an address.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stance {
    /// As the engine says.
    Free,
    /// Some of them twice.
    Watched,
    /// Data beside a handshake.
    Unanswered,
    Unknown,
}

/// A server's socket.
pub(crate) struct Bounded {
    inner: Arc<dyn AsyncUdpSocket>,
    pub(crate) proven: Arc<Proven>,
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
            proven: Arc::default(),
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

    /// Packets of established connections have come from where nobody is proven to be.
    fn note_short(&self, address: SocketAddr, packet: &[u8]) {
        let mut peers = lock(&self.peers);
        let answered = peers.answered(address, packet);
        self.watching.store(peers.unanswered > 0, Ordering::Relaxed);
        drop(peers);
        if !answered {
            self.proven.stranger(address, packet.len());
        }
    }

    /// Datagrams of established connections, each as far as it may go.
    fn send_to_stranger(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        for packet in packets(transmit) {
            if !self.proven.may_go(transmit.destination, packet.len()) {
                continue; // lost, as a packet may be
            }
            if let Err(error) = self.inner.try_send(&part(transmit, packet)) {
                self.proven.take_back(transmit.destination, packet.len());
                return Err(error);
            }
        }
        Ok(())
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
        let destination = transmit.destination;
        let mut proven = false;
        if !is_long(transmit.contents) {
            let strange = self.proven.is_watching();
            if !strange && !self.watching.load(Ordering::Relaxed) && self.is_plain() {
                return self.inner.try_send(transmit);
            }
            proven = self.proven.has(destination);
            let stance = lock(&self.peers).stance(destination, proven);
            match stance {
                Stance::Free => return self.inner.try_send(transmit),
                Stance::Unknown => return self.send_to_stranger(transmit),
                Stance::Unanswered if self.proven.is_strange(destination) => {
                    return self.send_to_stranger(transmit);
                }
                Stance::Unanswered | Stance::Watched => {}
            }
        }
        for packet in packets(transmit) {
            let times = lock(&self.peers).times(destination, packet, proven);
            for number in 0..times {
                if let Err(error) = self.inner.try_send(&part(transmit, packet)) {
                    if number > 0 {
                        break; // a copy is not worth waiting for
                    }
                    lock(&self.peers).take_back(destination, packet, times);
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
                let mut proven = None;
                for packet in data.chunks(meta.stride.max(1)) {
                    if is_long(packet) {
                        self.note(meta.addr, packet);
                    } else if !*proven.get_or_insert_with(|| self.proven.has(meta.addr)) {
                        self.note_short(meta.addr, packet);
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

    const OURS: [u8; ID] = *b"of-qshd.";

    fn packet(first: u8, size: usize, seal: u8) -> Vec<u8> {
        let mut data = vec![seal; size];
        data[0] = first;
        data
    }

    /// Of a handshake.
    fn long(to: &[u8], from: &[u8], size: usize) -> Vec<u8> {
        let mut data = [0xc0, 0, 0, 0, 1, 8].to_vec();
        data.extend_from_slice(to);
        data.push(8);
        data.extend_from_slice(from);
        data.resize(size, size.to_le_bytes()[0]); // so that none is a copy
        data
    }

    fn short(to: &[u8], size: usize) -> Vec<u8> {
        let mut data = vec![0x40];
        data.extend_from_slice(to);
        data.resize(size, 9);
        data
    }

    #[test]
    fn an_address_gets_three_times_what_came_and_not_a_byte_more() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        peers.received(now, address(1), &packet(0xc0, 1200, 1));
        let flight = packet(0xc0, 1150, 9);
        let sent: u64 = (0..9)
            .map(|_| u64::from(peers.times(address(1), &flight, false)) * 1150)
            .sum();
        assert_eq!(sent, 3 * 1150);
        assert_eq!(peers.times(address(1), &packet(0xc0, 151, 9), false), 0);
        assert_eq!(peers.times(address(1), &packet(0xc0, 150, 9), false), 1);
        assert_eq!(
            peers.times(address(1), &packet(0x40, 1, 9), false),
            0,
            "nor early data"
        );
        assert_eq!(peers.stance(address(1), false), Stance::Unanswered);
        assert_eq!(peers.stance(address(1), true), Stance::Free);
        assert_eq!(
            peers.times(address(2), &flight, false),
            1,
            "of nobody known"
        );
        assert_eq!(peers.stance(address(2), false), Stance::Unknown);
    }

    #[test]
    fn an_answer_has_an_id_that_only_a_receiver_knows() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        peers.received(now, address(1), &long(b"of-them.", b"theirs..", 1200));
        let flight = long(b"theirs..", &OURS, 1200);
        assert_eq!(peers.times(address(1), &flight, false), 1);
        let mut versions = long(b"theirs..", b"of-them.", 60);
        versions[1..5].fill(0);
        peers.times(address(1), &versions, false);
        for guess in [
            short(b"of-them.", 40),
            short(b"theirs..", 40),
            short(b"", 4),
        ] {
            assert!(!peers.answered(address(1), &guess));
        }
        peers.received(now, address(1), &long(b"of-them.", b"theirs..", 50));
        assert_eq!(peers.unanswered, 1);
        assert!(!peers.answered(address(2), &short(&OURS, 40)), "elsewhere");
        assert!(peers.answered(address(1), &short(&OURS, 40)));
        assert_eq!(peers.stance(address(1), false), Stance::Free);
        assert_eq!(peers.unanswered, 0);
        assert_eq!(peers.times(address(1), &packet(0x40, 1200, 9), false), 1);
    }

    #[test]
    fn a_packet_of_a_handshake_may_be_the_answer() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        peers.received(now, address(1), &long(b"of-them.", b"theirs..", 1200));
        peers.times(address(1), &long(b"theirs..", &OURS, 1200), false);
        peers.received(now, address(1), &long(&OURS, b"theirs..", 50));
        assert_eq!(peers.stance(address(1), false), Stance::Free);
    }

    #[test]
    fn who_sends_twice_gets_twice_for_a_while() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        let (one, two) = (packet(0xc0, 1200, 1), packet(0xc0, 1200, 2));
        assert!(!peers.received(now, address(1), &one));
        assert!(!peers.received(now, address(1), &two));
        assert_eq!(peers.times(address(1), &packet(0x40, 100, 9), false), 1);
        assert!(peers.received(now, address(1), &one));
        assert_eq!(peers.times(address(1), &packet(0xc0, 1200, 9), false), 2);
        peers.times(address(1), &long(b"theirs..", &OURS, 100), false);
        assert!(peers.answered(address(1), &short(&OURS, 40)));
        assert_eq!(peers.stance(address(1), false), Stance::Watched);
        assert_eq!(peers.times(address(1), &packet(0x40, 5000, 9), false), 1);
        for _ in 0..ANSWERS {
            assert_eq!(peers.times(address(1), &packet(0x40, 100, 9), false), 2);
        }
        assert_eq!(peers.times(address(1), &packet(0x40, 100, 9), false), 1);
    }

    #[test]
    fn copies_stay_within_the_limit_whatever_is_proven() {
        let now = Instant::now();
        let mut peers = Peers::new(now);
        let one = packet(0xc0, 1200, 1);
        peers.received(now, address(1), &one);
        peers.received(now, address(1), &one);
        let copies: u64 = (0..ANSWERS)
            .map(|_| u64::from(peers.times(address(1), &packet(0x40, 1200, 9), true)) - 1)
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
