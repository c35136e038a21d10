//! The events of a scene in the order of their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::congestion::ControllerFactory;

use super::Chance;
use super::bbr::Bbr;
use super::link::{Direction, Link};
use super::side::Side;

/// Who sends.
#[derive(Clone)]
pub enum Flow {
    /// QUIC, with a controller.
    Quic(Arc<dyn ControllerFactory + Send + Sync>),
    /// A model of BBR version 1 as Linux has it.
    Bbr,
}

/// One link and who uses it.
#[derive(Clone)]
pub struct Scene {
    /// The link, both ways.
    pub link: Link,
    /// Flows, and when each begins, s.
    pub flows: Vec<(Flow, f64)>,
    /// What is watched: from the begin of a flow (or `from_s`, if later) to here, s.
    pub until_s: f64,
    /// Figures count from here, s.
    pub from_s: f64,
    /// Chances.
    pub seed: u64,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Mbit/s of payload for each flow, from its handshake's end (or `from_s`).
    pub goodput_mbit: Vec<f64>,
    /// Packets declared lost / packets sent, for each flow.
    pub lost: Vec<f64>,
    /// ms that packets waited in the queue: median, 95th percentile.
    pub queue_ms: (f64, f64),
    /// Packets that found the queue full / packets.
    pub overflow: f64,
    /// Why a connection ended before its time.
    pub broken: Option<String>,
    /// With `trace`: (s, flow, Mbit/s since the last one, window in bytes, queue in ms).
    pub trace: Vec<(f64, usize, f64, u64, f64)>,
}

enum What {
    Arrives {
        flow: usize,
        at_sender: bool,
        data: Vec<u8>,
    },
    Wakes {
        flow: usize,
        sender: bool,
    },
    Begins {
        flow: usize,
    },
    Counts,
    Traces,
    Acks {
        flow: usize,
        number: u64,
    },
    Bbr {
        flow: usize,
    },
}

enum Parts {
    Quic {
        sender: Box<Side>,
        receiver: Box<Side>,
        timers: [u64; 2],
    },
    Bbr(Box<Bbr>),
}

struct World {
    base: Instant,
    now: u64,
    serial: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    whats: std::collections::HashMap<u64, What>,
    down: Direction,
    up: Direction,
    flows: Vec<Option<Parts>>,
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

impl World {
    fn at(&mut self, time: u64, what: What) {
        self.serial += 1;
        self.events.push(Reverse((time.max(self.now), self.serial)));
        self.whats.insert(self.serial, what);
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    fn drive(&mut self, flow: usize, sends: bool) {
        let now = self.instant();
        let mut out = Vec::new();
        let Some(Parts::Quic {
            sender,
            receiver,
            timers,
        }) = &mut self.flows[flow]
        else {
            return;
        };
        let side = if sends { sender } else { receiver };
        side.drive(now, &mut out);
        let wakes = side
            .wakes_at()
            .map(|at| at.saturating_duration_since(self.base).as_nanos() as u64)
            .map(|at| at.max(self.now + 1));
        let timer = &mut timers[usize::from(sends)];
        let changed = wakes.filter(|at| *at < *timer || *timer <= self.now);
        if let Some(at) = changed {
            *timer = at;
        }
        for data in out {
            let direction = if sends { &mut self.down } else { &mut self.up };
            if let Some(due) = direction.admit(self.now, data.len() as u64) {
                self.at(
                    due,
                    What::Arrives {
                        flow,
                        at_sender: !sends,
                        data,
                    },
                );
            }
        }
        if let Some(at) = changed {
            self.at(
                at,
                What::Wakes {
                    flow,
                    sender: sends,
                },
            );
        }
    }

    fn model(&mut self, flow: usize) {
        let Some(Parts::Bbr(bbr)) = &mut self.flows[flow] else {
            return;
        };
        let mut sent = Vec::new();
        let next = bbr.send(self.now, &mut sent);
        for number in sent {
            if let Some(due) = self.down.admit(self.now, super::bbr::PACKET) {
                self.at(due, What::Acks { flow, number });
            }
        }
        if let Some(at) = next {
            self.at(at, What::Bbr { flow });
        }
    }

    fn received(&self, flow: usize) -> u64 {
        match &self.flows[flow] {
            Some(Parts::Quic { receiver, .. }) => receiver.received,
            Some(Parts::Bbr(bbr)) => bbr.delivered,
            None => 0,
        }
    }

    fn counts(&self, flow: usize) -> (u64, u64, u64) {
        match &self.flows[flow] {
            Some(Parts::Quic { sender, .. }) => sender.counts(),
            Some(Parts::Bbr(bbr)) => (bbr.sent, bbr.lost, bbr.window()),
            None => (0, 0, 0),
        }
    }
}

/// Plays a scene; with `trace_s` it is also watched at that interval.
pub fn run(scene: &Scene, trace_s: Option<f64>) -> Outcome {
    let mut chance = Chance::new(scene.seed);
    let mut world = World {
        base: Instant::now(),
        now: 0,
        serial: 0,
        events: BinaryHeap::new(),
        whats: std::collections::HashMap::new(),
        down: Direction::new(scene.link, Chance::new((chance.next() * 1e15) as u64)),
        up: Direction::new(scene.link, Chance::new((chance.next() * 1e15) as u64)),
        flows: scene.flows.iter().map(|_| None).collect(),
    };
    for (flow, (_, begins_s)) in scene.flows.iter().enumerate() {
        world.at(nanos(*begins_s), What::Begins { flow });
    }
    world.at(nanos(scene.from_s), What::Counts);
    if let Some(every) = trace_s {
        world.at(nanos(every), What::Traces);
    }
    let flows = scene.flows.len();
    let mut outcome = Outcome::default();
    let mut began: Vec<Option<(u64, u64)>> = vec![None; flows];
    let mut before = vec![(0, 0, 0); flows];
    let mut traced = vec![0; flows];
    let (from, until) = (nanos(scene.from_s), nanos(scene.until_s));
    while let Some(Reverse((time, serial))) = world.events.pop() {
        if time > until {
            break;
        }
        world.now = time;
        match world.whats.remove(&serial).unwrap() {
            What::Arrives {
                flow,
                at_sender,
                data,
            } => {
                let now = world.instant();
                if let Some(Parts::Quic {
                    sender, receiver, ..
                }) = &mut world.flows[flow]
                {
                    let side = if at_sender { sender } else { receiver };
                    side.arrive(now, &data);
                    world.drive(flow, at_sender);
                }
            }
            What::Wakes {
                flow,
                sender: sends,
            } => {
                let now = world.instant();
                if let Some(Parts::Quic {
                    sender,
                    receiver,
                    timers,
                }) = &mut world.flows[flow]
                {
                    if timers[usize::from(sends)] != time {
                        continue;
                    }
                    let side = if sends { sender } else { receiver };
                    if side.wakes_at().is_some_and(|at| at <= now) {
                        side.wake(now);
                    }
                    world.drive(flow, sends);
                }
            }
            What::Begins { flow } => match &scene.flows[flow].0 {
                Flow::Quic(controller) => {
                    let port = 1000 + 2 * flow as u16;
                    let now = world.instant();
                    let mut sender = Side::sender(port, port + 1, controller.clone());
                    sender.allow(u64::MAX / 2);
                    let receiver = Side::receiver(now, port + 1, port, controller.clone());
                    let timers = [u64::MAX; 2];
                    world.flows[flow] = Some(Parts::Quic {
                        sender: Box::new(sender),
                        receiver: Box::new(receiver),
                        timers,
                    });
                    world.drive(flow, false);
                }
                Flow::Bbr => {
                    world.flows[flow] = Some(Parts::Bbr(Box::new(Bbr::new(world.now))));
                    world.model(flow);
                }
            },
            What::Acks { flow, number } => {
                // The receiver answers each packet at once, on a way back that loses nothing.
                if number & BACK == 0 {
                    let back = world.now + nanos(scene.link.rtt_ms / 2e3);
                    world.at(
                        back,
                        What::Acks {
                            flow,
                            number: number | BACK,
                        },
                    );
                } else if let Some(Parts::Bbr(bbr)) = &mut world.flows[flow] {
                    bbr.acknowledged(world.now, number & !BACK);
                    world.model(flow);
                }
            }
            What::Bbr { flow } => world.model(flow),
            What::Counts => {
                for flow in 0..flows {
                    before[flow] = world.counts(flow);
                    if began[flow].is_some() {
                        began[flow] = Some((world.now, world.received(flow)));
                    }
                }
            }
            What::Traces => {
                let every = trace_s.unwrap_or(1.0);
                for (flow, before) in traced.iter_mut().enumerate() {
                    let (_, _, window) = world.counts(flow);
                    let bytes = world.received(flow);
                    let rate = (bytes - *before) as f64 * 8e-6 / every;
                    *before = bytes;
                    let queue = world
                        .down
                        .waited
                        .last()
                        .map_or(0.0, |(_, w)| *w as f64 / 1e6);
                    let row = (time as f64 / 1e9, flow, rate, window, queue);
                    outcome.trace.push(row);
                }
                world.at(time + nanos(every), What::Traces);
            }
        }
        for (flow, begun) in began.iter_mut().enumerate() {
            if begun.is_none() {
                let ready = match &world.flows[flow] {
                    Some(Parts::Quic { sender, .. }) => sender.established,
                    Some(Parts::Bbr(_)) => true,
                    None => false,
                };
                if ready {
                    *begun = Some((world.now, 0));
                }
            }
        }
    }
    for flow in 0..flows {
        if let Some(Parts::Quic {
            sender, receiver, ..
        }) = &world.flows[flow]
        {
            let broken = receiver.broken.as_ref().or(sender.broken.as_ref());
            outcome.broken = outcome.broken.or(broken.cloned());
        }
        let (start, had) = began[flow].unwrap_or((0, 0));
        let start_s = start.max(from) as f64 / 1e9;
        let bytes = world.received(flow) - had;
        outcome
            .goodput_mbit
            .push(bytes as f64 * 8e-6 / (scene.until_s - start_s).max(1e-9));
        let (sent, lost, _) = world.counts(flow);
        let (sent, lost) = (sent - before[flow].0, lost - before[flow].1);
        outcome.lost.push(lost as f64 / sent.max(1) as f64);
    }
    let counted = world.down.waited.iter().filter(|(at, _)| *at >= from);
    let mut waited: Vec<u64> = counted.map(|(_, wait)| *wait).collect();
    waited.sort_unstable();
    let part = |share: f64| {
        let at = (waited.len() as f64 * share) as usize;
        waited.get(at).map_or(0.0, |ns| *ns as f64 / 1e6)
    };
    outcome.queue_ms = (part(0.5), part(0.95));
    let all = world.down.waited.len() as f64 + world.down.overflow as f64;
    outcome.overflow = world.down.overflow as f64 / all.max(1.0);
    outcome
}

/// Marks the number of a packet whose acknowledgement is on its way back.
const BACK: u64 = 1 << 63;
