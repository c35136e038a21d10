//! Transfers over one bottleneck in virtual time: quinn-proto's own connections, an emulated link, no clock and no sockets.
//!
//! Deterministic but for the bytes of keys and certificates, which change no length and no time.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bbr;
mod chance;
mod link;
mod side;
mod tls;
mod world;

pub use chance::Chance;
pub use link::Link;
pub use world::{Flow, Outcome, Scene, run};
