//! qsh's own congestion controller: keeps a small queue, does not mind random loss, and shares with flows that fill queues.
//!
//! docs/congestion.md has the design and what was tried. It reads no clock: quinn says what time it is.

mod dip;
mod losses;
pub(crate) mod minimum;
mod own;
mod police;
mod rival;
mod rounds;
mod start;
mod still;

pub(crate) use own::OwnConfig;
