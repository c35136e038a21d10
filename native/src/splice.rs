//! Copying between a stream and a descriptor without Python.
//!
//! Pollable descriptors are served by tokio and cost no thread. A socket is read and written with MSG_DONTWAIT, so it
//! need not be non-blocking; a shared pipe or terminal is opened anew through /proc, which gives a file description of
//! our own that may be. Only what is left (regular files, other devices, no /proc) gets a thread.

mod interrupt;
mod port;
mod read;
pub(crate) mod threads;
mod write;

pub(crate) use interrupt::{Interrupt, Signal};
pub(crate) use port::Port;
pub(crate) use read::from_port;
pub(crate) use write::to_port;
