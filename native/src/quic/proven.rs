//! Addresses at which somebody is known to receive, and what may go to others (RFC 9000 8.1 and 9.3).
//!
//! quinn sends one packet whole to a path that is not validated when any of its budget is left, searches for the MTU there, and
//! answers path challenges with 1,200 bytes wherever they came from: a client that forges its sender could so have forty times
//! what it sends go to somebody else (measured). Here all that counts, to the byte, until quinn holds the path for validated.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::runtime::lock;

/// RFC 9000 8.1.
pub(crate) const FACTOR: u64 = 3;
/// Addresses that have proven nothing and are remembered. More of them are a flood, and cost its sender more than it gets.
const STRANGERS: usize = 4096;
/// For so long after the last packet.
const REMEMBERED: Duration = Duration::from_secs(40);
/// The first packet to a stranger, in which quinn asks it for proof. A client whose NAT moves it to another address says nothing
/// large, and would have to be silent for seconds; so a few go out beyond the limit, for the whole socket.
const QUESTION: usize = 1200;
const QUESTIONS: f64 = 8.0;
const QUESTIONS_A_SECOND: f64 = 4.0;
/// How often it is looked whether a path is validated, and how often when that takes long.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: u32 = 400;
const LATE_LOOK: Duration = Duration::from_millis(100);

/// A client keeps its address when only its port changes (RFC 9000 9.4): that is nearly always a NAT.
fn host(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// Of one address.
#[derive(Debug)]
struct Budget {
    since: Instant,
    received: u64,
    sent: u64,
}

#[derive(Debug)]
struct Strangers {
    known: HashMap<IpAddr, Budget>,
    swept: Instant,
    questions: f64,
    counted: Instant,
}

impl Strangers {
    fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            swept: now,
            questions: QUESTIONS,
            counted: now,
        }
    }

    fn received(&mut self, now: Instant, address: IpAddr, bytes: u64) {
        if now.duration_since(self.swept) > REMEMBERED {
            self.swept = now;
            self.known
                .retain(|_, budget| now.duration_since(budget.since) < REMEMBERED);
        }
        if self.known.len() >= STRANGERS && !self.known.contains_key(&address) {
            self.known.clear();
        }
        let budget = self.known.entry(address).or_insert(Budget {
            since: now,
            received: 0,
            sent: 0,
        });
        budget.since = now;
        budget.received += bytes;
    }

    /// Whether a packet may go; then it counts as sent.
    fn may_go(&mut self, now: Instant, address: IpAddr, bytes: usize) -> bool {
        let Some(budget) = self.known.get_mut(&address) else {
            return true; // nobody has asked for it
        };
        let size = bytes as u64;
        if budget.sent + size > FACTOR * budget.received {
            let passed = now.duration_since(self.counted).as_secs_f64();
            self.counted = now;
            self.questions = QUESTIONS.min(self.questions + passed * QUESTIONS_A_SECOND);
            if budget.sent > 0 || bytes > QUESTION || self.questions < 1.0 {
                return false;
            }
            self.questions -= 1.0;
        }
        budget.sent += size;
        true
    }

    fn take_back(&mut self, address: IpAddr, bytes: usize) {
        if let Some(budget) = self.known.get_mut(&address) {
            budget.sent = budget.sent.saturating_sub(bytes as u64);
        }
    }
}

/// What one socket knows of addresses.
#[derive(Debug)]
pub(crate) struct Proven {
    /// Each with how many connections say so.
    known: RwLock<HashMap<IpAddr, usize>>,
    strangers: Mutex<Strangers>,
    /// There are some.
    strange: AtomicBool,
    withheld: AtomicU64,
}

impl Default for Proven {
    fn default() -> Self {
        Self {
            known: RwLock::default(),
            strangers: Mutex::new(Strangers::new(Instant::now())),
            strange: AtomicBool::new(false),
            withheld: AtomicU64::new(0),
        }
    }
}

impl Proven {
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        let known = self
            .known
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.contains_key(&host(address))
    }

    /// A packet of an established connection has come from where nobody is proven to be.
    pub(crate) fn stranger(&self, address: SocketAddr, bytes: usize) {
        let mut strangers = lock(&self.strangers);
        strangers.received(Instant::now(), host(address), bytes as u64);
        self.strange.store(true, Ordering::Relaxed);
    }

    /// Whether packets of established connections are looked at one by one.
    pub(crate) fn is_watching(&self) -> bool {
        self.strange.load(Ordering::Relaxed)
    }

    pub(crate) fn is_strange(&self, address: SocketAddr) -> bool {
        self.is_watching() && lock(&self.strangers).known.contains_key(&host(address))
    }

    pub(crate) fn may_go(&self, address: SocketAddr, bytes: usize) -> bool {
        if self.has(address) {
            return true;
        }
        let mut strangers = lock(&self.strangers);
        let may_go = strangers.may_go(Instant::now(), host(address), bytes);
        if !may_go {
            self.withheld.fetch_add(1, Ordering::Relaxed);
        }
        may_go
    }

    /// It could not be sent.
    pub(crate) fn take_back(&self, address: SocketAddr, bytes: usize) {
        lock(&self.strangers).take_back(host(address), bytes);
    }

    /// Packets so far that did not go out.
    pub(crate) fn withheld(&self) -> u64 {
        self.withheld.load(Ordering::Relaxed)
    }

    fn hold(self: &Arc<Self>, address: IpAddr) -> Hold {
        let mut known = self
            .known
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *known.entry(address).or_default() += 1;
        drop(known);
        let mut strangers = lock(&self.strangers);
        strangers.known.remove(&address);
        self.strange
            .store(!strangers.known.is_empty(), Ordering::Relaxed);
        Hold {
            proven: self.clone(),
            address,
        }
    }
}

/// As long as it lives somebody is known to receive at the address.
struct Hold {
    proven: Arc<Proven>,
    address: IpAddr,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut known = self
            .proven
            .known
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(count) = known.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                known.remove(&self.address);
            }
        }
    }
}

/// Datagrams without a question for proof, which quinn has in each packet to a path that is not validated.
fn unquestioning(connection: &quinn::Connection) -> u64 {
    let stats = connection.stats();
    let questions = stats.frame_tx.path_challenge + stats.frame_tx.path_response;
    (stats.udp_tx.datagrams).wrapping_sub(questions + stats.path.sent_plpmtud_probes)
}

/// Where a connection is known to be received.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProvenAt(Arc<Mutex<Option<IpAddr>>>);

impl ProvenAt {
    pub(crate) fn is_at(&self, address: SocketAddr) -> bool {
        *lock(&self.0) == Some(host(address))
    }

    fn set(&self, address: IpAddr) {
        *lock(&self.0) = Some(address);
    }
}

/// Hold the addresses that a connection of a server is validated at, until it ends. `done`: when its handshake is. `paths` counts
/// those that it moves to, so what was sent between two looks that find the same went to the same one.
pub(crate) async fn watch(
    proven: Arc<Proven>,
    connection: quinn::Connection,
    mut done: watch::Receiver<bool>,
    mut paths: watch::Receiver<u64>,
    at: ProvenAt,
) {
    tokio::select! {
        biased;
        _ = connection.closed() => return,
        _ = done.wait_for(|done| *done) => {}
    }
    let mut here = proven.hold(host(connection.remote_address()));
    at.set(here.address);
    loop {
        tokio::select! {
            biased;
            _ = connection.closed() => return,
            changed = paths.changed() => if changed.is_err() { return },
        }
        let mut before = None;
        let mut looks = 0;
        loop {
            let path = *paths.borrow_and_update();
            let address = host(connection.remote_address());
            if address == here.address {
                break;
            }
            let sent = unquestioning(&connection);
            if let Some((old_path, old_address, old_sent)) = before
                && (old_path, old_address) == (path, address)
                && old_sent < sent
                && connection.close_reason().is_none()
                && (*paths.borrow(), host(connection.remote_address())) == (path, address)
            {
                here = proven.hold(address);
                at.set(address);
                break;
            }
            if before
                .is_none_or(|(old_path, old_address, _)| (old_path, old_address) != (path, address))
            {
                before = Some((path, address, sent));
            }
            looks += 1;
            let pause = if looks < LOOKS { LOOK } else { LATE_LOOK };
            tokio::select! {
                biased;
                _ = connection.closed() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + number).to_be_bytes())
    }

    #[test]
    fn a_stranger_gets_three_times_what_came_and_not_a_byte_more() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        strangers.received(now, address(1), 500);
        assert!(strangers.may_go(now, address(1), 1200));
        assert!(!strangers.may_go(now, address(1), 301));
        assert!(strangers.may_go(now, address(1), 300));
        assert!(!strangers.may_go(now, address(1), 1));
        strangers.take_back(address(1), 300);
        strangers.received(now, address(1), 1);
        assert!(strangers.may_go(now, address(1), 303));
        assert!(strangers.may_go(now, address(2), 9000), "nobody asked");
    }

    #[test]
    fn a_few_are_asked_for_proof_beyond_it() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        let asked = |strangers: &mut Strangers, now, first: u32| {
            let ask = |number: &u32| {
                strangers.received(now, address(*number), 40);
                strangers.may_go(now, address(*number), QUESTION)
            };
            (first..first + 100).filter(ask).count()
        };
        assert_eq!(asked(&mut strangers, now, 0), 8);
        assert!(!strangers.may_go(now, address(0), QUESTION), "once");
        let later = now + Duration::from_secs(1);
        assert_eq!(asked(&mut strangers, later, 200), 4);
        let later = later + Duration::from_secs(1);
        strangers.received(later, address(400), 40);
        assert!(!strangers.may_go(later, address(400), QUESTION + 1));
    }

    #[test]
    fn strangers_are_few_and_forgotten() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        for number in 0..10_000 {
            strangers.received(now, address(number), 40);
            assert!(strangers.known.len() <= STRANGERS);
        }
        let later = now + 2 * REMEMBERED;
        strangers.received(later, address(0), 40);
        assert_eq!(strangers.known.len(), 1);
    }

    #[test]
    fn an_address_is_proven_as_long_as_a_connection_says_so() {
        let proven = Arc::new(Proven::default());
        let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
        proven.stranger(at(1), 10);
        assert!(proven.is_watching());
        let hold = proven.hold(host(at(1)));
        assert!(!proven.is_watching());
        let other = proven.hold(host(at(1)));
        drop(hold);
        assert!(proven.has(at(2)), "whatever the port");
        assert!(proven.may_go(at(2), 9000));
        drop(other);
        assert!(!proven.has(at(1)));
        proven.stranger(at(1), 10);
        assert!(!proven.may_go(at(1), 1201));
        assert_eq!(proven.withheld(), 1);
    }
}
