//! The controller on three simulated links, in virtual time: what it must reach whatever is changed in it.
#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic
)]

#[path = "../src/congestion/mod.rs"]
mod congestion;
#[path = "../sim/mod.rs"]
mod sim;

use std::sync::Arc;

use quinn_proto::congestion::CubicConfig;

use sim::{Flow, Link, Outcome, Scene, run};

fn play(link: Link, flow: Flow) -> Outcome {
    let scene = Scene {
        link,
        flows: vec![(flow, 0.0)],
        until_s: 8.0,
        from_s: 0.0,
        seed: 11,
    };
    run(&scene, None)
}

/// Fails unless `part` of the link is used with less than `queue_ms` of standing queue.
fn reaches(link: Link, part: f64, queue_ms: f64) {
    let outcome = play(link, Flow::Quic(Arc::new(congestion::OwnConfig)));
    assert!(outcome.broken.is_none(), "{:?}", outcome.broken);
    let used = outcome.goodput_mbit[0] / link.rate_mbit;
    assert!(
        used > part && outcome.queue_ms.0 < queue_ms,
        "{used} {:?}",
        outcome.queue_ms
    );
    assert!(
        outcome.lost[0] < link.loss * 1.3 + 0.01,
        "{:?}",
        outcome.lost
    );
}

#[test]
fn a_fast_lossy_link_is_used() {
    reaches(Link::new(50.0, 40.0, 0.01, 2.0), 0.85, 8.0);
}

#[test]
fn a_slow_link_has_a_short_queue() {
    reaches(Link::new(10.0, 100.0, 0.0, 5.0), 0.85, 20.0);
}

#[test]
fn a_very_lossy_link_is_used() {
    reaches(Link::new(20.0, 100.0, 0.05, 2.0), 0.75, 15.0);
}

#[test]
fn a_policer_does_not_drop_what_it_would_of_others() {
    let link = Link {
        policer: true,
        ..Link::new(20.0, 40.0, 0.0, 1.0)
    };
    let outcome = play(link, Flow::Quic(Arc::new(congestion::OwnConfig)));
    assert!(outcome.goodput_mbit[0] > 17.0, "{:?}", outcome.goodput_mbit);
    assert!(outcome.lost[0] < 0.06, "{:?}", outcome.lost);
}

#[test]
fn a_longer_route_is_used_soon() {
    for loss in [0.0, 0.01] {
        let scene = Scene {
            link: Link {
                change: Some((6.0, 120.0)),
                ..Link::new(50.0, 40.0, loss, 2.0)
            },
            flows: vec![(Flow::Quic(Arc::new(congestion::OwnConfig)), 0.0)],
            until_s: 21.0,
            from_s: 6.0,
            seed: 11,
        };
        let outcome = run(&scene, None);
        assert!(outcome.goodput_mbit[0] > 35.0, "{:?}", outcome.goodput_mbit);
    }
}

#[test]
fn cubic_would_not_reach_that() {
    let outcome = play(
        Link::new(50.0, 40.0, 0.01, 2.0),
        Flow::Quic(Arc::new(CubicConfig::default())),
    );
    assert!(outcome.goodput_mbit[0] < 15.0, "{:?}", outcome.goodput_mbit);
}

#[test]
fn the_same_seed_gives_the_same_transfer() {
    let outcomes = [0; 2].map(|_| {
        let scene = Scene {
            link: Link::new(10.0, 40.0, 0.01, 1.0),
            flows: vec![
                (Flow::Quic(Arc::new(congestion::OwnConfig)), 0.0),
                (Flow::Bbr, 1.0),
            ],
            until_s: 4.0,
            from_s: 1.0,
            seed: 3,
        };
        run(&scene, None)
    });
    assert_eq!(outcomes[0].goodput_mbit, outcomes[1].goodput_mbit);
    assert_eq!(outcomes[0].lost, outcomes[1].lost);
}
