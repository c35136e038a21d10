//! Judges congestion controllers on simulated links (docs/congestion.md); bench/congestion.py runs it and keeps its rows.
//!
//! `congestion_grid grid|aside|odd|busy|share|share-aside|many|goals CONTROLLER` prints a JSON object per line;
//! `congestion_grid trace CONTROLLER,... MBIT RTT_MS LOSS QUEUE_BDP SECONDS STEP_S [SEED
//! [STALLS_EVERY_MS STALLS_MS [JITTER_MS]]]` what happens on one link.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic)]

#[path = "../src/congestion/mod.rs"]
mod congestion;
#[path = "../sim/mod.rs"]
mod sim;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn_proto::congestion::{BbrConfig, ControllerFactory, CubicConfig};

use sim::{Chance, Flow, Link, Outcome, Scene, run};

const THREADS: usize = 2;
const SEED: u64 = 5;
const SEEDS: u64 = 8;

fn flow(name: &str) -> Flow {
    let factory: Arc<dyn ControllerFactory + Send + Sync> = match name {
        "own" => Arc::new(congestion::OwnConfig),
        "cubic" => Arc::new(CubicConfig::default()),
        "quinn-bbr" => Arc::new(BbrConfig::default()),
        "bbr" => return Flow::Bbr,
        _ => panic!("{name}: own, cubic, quinn-bbr or bbr"),
    };
    Flow::Quic(factory)
}

/// Results in the order of the items.
fn all<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((index, item)) = {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    items.get(index).map(|item| (index, item))
                } {
                    let result = work(item);
                    results.lock().unwrap().push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn play(link: Link, flows: Vec<(Flow, f64)>, from_s: f64, until_s: f64, seed: u64) -> Outcome {
    let scene = Scene {
        link,
        flows,
        until_s,
        from_s,
        seed,
    };
    run(&scene, None)
}

fn product(rates: &[f64], trips: &[f64], losses: &[f64], queues: &[f64]) -> Vec<Link> {
    let mut links = Vec::new();
    for rate in rates {
        for trip in trips {
            for loss in losses {
                links.extend(
                    queues
                        .iter()
                        .map(|bdp| Link::new(*rate, *trip, *loss, *bdp)),
                );
            }
        }
    }
    links
}

fn alone(links: &[Link], name: &str, from_s: f64, seconds: f64) {
    let outcomes = all(links, |link| {
        play(*link, vec![(flow(name), 0.0)], from_s, seconds, SEED)
    });
    for (link, outcome) in links.iter().zip(outcomes) {
        println!(
            r#"{{"controller": "{name}", "mbit": {}, "rtt_ms": {}, "loss": {}, "queue_bytes": {}, "policer": {}, "jitter_ms": {}, "then_ms": {}, "from": {from_s}, "seconds": {seconds}, "goodput_mbit": {:.2}, "queue_ms": {:.2}, "queue_p95_ms": {:.2}, "lost": {:.4}, "broken": {}}}"#,
            link.rate_mbit,
            link.rtt_ms,
            link.loss,
            link.queue_bytes,
            link.policer,
            link.jitter_ms,
            link.change.map_or(link.rtt_ms, |(_, ms)| ms),
            outcome.goodput_mbit[0],
            outcome.queue_ms.0,
            outcome.queue_ms.1,
            outcome.lost[0],
            outcome.broken.is_some(),
        );
    }
}

/// The links of the goals.
fn wanted() -> [Link; 4] {
    let of = |rate, trip, loss, packets: u64| Link {
        queue_bytes: packets * 1480,
        ..Link::new(rate, trip, loss, 1.0)
    };
    [
        of(100.0, 100.0, 0.01, 1500),
        of(50.0, 40.0, 0.001, 500),
        of(20.0, 100.0, 0.05, 500),
        of(10.0, 100.0, 0.0, 500),
    ]
}

fn goals(name: &str) {
    let links = wanted();
    for seconds in [5.0, 10.0, 30.0] {
        alone(&links, name, 0.0, seconds);
    }
}

/// The same links between hosts that are not and that are busy, with `SEEDS` seeds.
fn busy(name: &str) {
    for seconds in [5.0, 10.0] {
        let mut cases = Vec::new();
        for stalls in [None, Some((50.0, 4.0)), Some((100.0, 15.0))] {
            for link in wanted() {
                cases.extend((1..=SEEDS).map(|seed| (Link { stalls, ..link }, seed)));
            }
        }
        let outcomes = all(&cases, |(link, seed)| {
            play(*link, vec![(flow(name), 0.0)], 0.0, seconds, *seed)
        });
        for ((link, seed), outcome) in cases.iter().zip(outcomes) {
            let (every, mean) = link.stalls.unwrap_or_default();
            println!(
                r#"{{"controller": "{name}", "mbit": {}, "rtt_ms": {}, "loss": {}, "queue_bytes": {}, "stalls_every_ms": {every}, "stalls_ms": {mean}, "seed": {seed}, "seconds": {seconds}, "goodput_mbit": {:.2}, "queue_ms": {:.2}, "queue_p95_ms": {:.2}, "lost": {:.4}}}"#,
                link.rate_mbit,
                link.rtt_ms,
                link.loss,
                link.queue_bytes,
                outcome.goodput_mbit[0],
                outcome.queue_ms.0,
                outcome.queue_ms.1,
                outcome.lost[0],
            );
        }
    }
}

fn shares(name: &str, links: &[Link], seed: u64) {
    let mut cases = Vec::new();
    for peer in ["cubic", "bbr", "own"] {
        for link in links {
            cases.extend([true, false].map(|first| (peer, *link, first)));
        }
    }
    let outcomes = all(&cases, |(peer, link, first)| {
        let (ours, theirs) = if *first { (0.0, 2.0) } else { (2.0, 0.0) };
        play(
            *link,
            vec![(flow(name), ours), (flow(peer), theirs)],
            10.0,
            40.0,
            seed,
        )
    });
    for ((peer, link, first), outcome) in cases.iter().zip(outcomes) {
        let sum: f64 = outcome.goodput_mbit.iter().sum();
        println!(
            r#"{{"controller": "{name}", "peer": "{peer}", "first": {first}, "mbit": {}, "rtt_ms": {}, "queue_bytes": {}, "share": {:.3}, "use": {:.3}, "queue_ms": {:.1}, "lost": {:.4}}}"#,
            link.rate_mbit,
            link.rtt_ms,
            link.queue_bytes,
            outcome.goodput_mbit[0] / sum,
            sum / link.rate_mbit,
            outcome.queue_ms.0,
            outcome.lost[0],
        );
    }
}

fn many(name: &str) {
    let mut cases = Vec::new();
    for (count, trip) in [(4, 20.0), (4, 100.0), (10, 20.0), (10, 100.0)] {
        cases.extend((SEED..SEED + SEEDS).map(|seed| (count, trip, seed)));
    }
    let outcomes = all(&cases, |(count, trip, seed)| {
        // When they begin is up to the seed: flows of ours take each other for rivals or not by chance.
        let mut chance = Chance::new(*seed);
        let flows = (0..*count)
            .map(|i| (flow(name), (f64::from(i) + chance.next()) * 0.7))
            .collect();
        let link = Link::new(50.0, *trip, 0.0, 2.0);
        play(link, flows, 10.0, 40.0, *seed)
    });
    for ((count, trip, seed), outcome) in cases.iter().zip(outcomes) {
        let sum: f64 = outcome.goodput_mbit.iter().sum();
        let squares: f64 = outcome.goodput_mbit.iter().map(|rate| rate * rate).sum();
        println!(
            r#"{{"controller": "{name}", "flows": {count}, "rtt_ms": {trip}, "seed": {seed}, "use": {:.3}, "jain": {:.3}, "queue_ms": {:.1}, "lost": {:.4}}}"#,
            sum / 50.0,
            sum * sum / squares / f64::from(*count),
            outcome.queue_ms.0,
            outcome.lost.iter().sum::<f64>() / f64::from(*count),
        );
    }
}

/// Policers, jitter, queues of few packets, and links whose round trip changes after 10 s, of which 15 s count.
fn odd(name: &str) {
    let mut links = Vec::new();
    for (rate, trip, bdp) in [
        (20.0, 40.0, 1.0),
        (10.0, 20.0, 2.0),
        (50.0, 40.0, 0.5),
        (30.0, 80.0, 1.5),
        (100.0, 100.0, 1.0),
    ] {
        links.push(Link {
            policer: true,
            ..Link::new(rate, trip, 0.0, bdp)
        });
    }
    for (rate, trip, jitter_ms) in [(50.0, 40.0, 5.0), (20.0, 60.0, 8.0), (80.0, 25.0, 3.0)] {
        links.push(Link {
            jitter_ms,
            ..Link::new(rate, trip, 0.0, 2.0)
        });
    }
    for (rate, trip) in [(20.0, 40.0), (50.0, 20.0), (100.0, 100.0)] {
        links.push(Link {
            queue_bytes: 16 * 1480,
            ..Link::new(rate, trip, 0.0, 1.0)
        });
    }
    alone(&links, name, 0.0, 20.0);
    links.clear();
    for (trip, then) in [
        (40.0, 120.0),
        (20.0, 60.0),
        (100.0, 180.0),
        (30.0, 45.0),
        (120.0, 40.0),
    ] {
        for loss in [0.0, 0.01] {
            links.push(Link {
                change: Some((10.0, then)),
                ..Link::new(50.0, trip, loss, 2.0)
            });
        }
    }
    alone(&links, name, 10.0, 25.0);
}

fn trace(names: &str, numbers: &[f64]) {
    let ([rate, trip, loss, bdp, seconds, step], more) = numbers.split_first_chunk().unwrap();
    let seed = more.first().map_or(SEED, |seed| *seed as u64);
    let stalls = more.get(1).zip(more.get(2)).map(|(a, b)| (*a, *b));
    let begins = names.split(',').enumerate();
    let scene = Scene {
        link: Link {
            stalls,
            jitter_ms: more.get(3).copied().unwrap_or_default(),
            ..Link::new(*rate, *trip, *loss, *bdp)
        },
        flows: begins.map(|(i, name)| (flow(name), i as f64)).collect(),
        until_s: *seconds,
        from_s: 0.0,
        seed,
    };
    let outcome = run(&scene, Some(*step));
    for (at, flow, rate, window, queue) in &outcome.trace {
        println!("{at:7.2} s  {flow}  {rate:7.2} Mbit/s  window {window:9}  queue {queue:7.2} ms");
    }
    println!("{:?} Mbit/s, lost {:?}", outcome.goodput_mbit, outcome.lost);
    println!(
        "queue {:?} ms, {:.4} overflowed",
        outcome.queue_ms, outcome.overflow
    );
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let losses = [0.0, 0.01, 0.05];
    match &words[..] {
        ["grid", name] => {
            let (rates, trips) = ([5.0, 20.0, 50.0, 200.0], [10.0, 40.0, 100.0, 300.0]);
            alone(
                &product(&rates, &trips, &losses, &[0.5, 1.0, 4.0]),
                name,
                0.0,
                10.0,
            );
        }
        ["aside", name] => {
            let mut links = product(
                &[8.0, 35.0, 120.0],
                &[15.0, 70.0, 180.0],
                &[0.002, 0.03],
                &[0.7, 2.0],
            );
            for jitter_ms in [2.0, 5.0] {
                links.push(Link {
                    jitter_ms,
                    ..Link::new(50.0, 40.0, 0.0, 2.0)
                });
            }
            links.push(Link {
                policer: true,
                ..Link::new(20.0, 40.0, 0.0, 1.0)
            });
            alone(&links, name, 0.0, 10.0);
        }
        ["odd", name] => odd(name),
        ["goals", name] => goals(name),
        ["busy", name] => busy(name),
        ["share", name] => {
            let (rates, trips) = ([10.0, 50.0], [20.0, 40.0, 100.0]);
            let links = product(&rates, &trips, &[0.0], &[0.5, 1.0, 2.0, 4.0]);
            shares(name, &links, SEED);
        }
        // Nothing was chosen by these.
        ["share-aside", name] => {
            let links = product(&[20.0, 35.0], &[30.0, 70.0], &[0.0], &[0.7, 1.5, 3.0]);
            shares(name, &links, SEED + 1);
        }
        ["many", name] => many(name),
        ["trace", names, numbers @ ..] => {
            let numbers: Vec<f64> = numbers.iter().map(|word| word.parse().unwrap()).collect();
            trace(names, &numbers);
        }
        _ => panic!("see the first lines of examples/congestion_grid.rs"),
    }
}
