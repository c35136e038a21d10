//! The terminal model: what a screen shows after a stream of bytes, its history, and the bytes that
//! bring another terminal to the same picture.

mod history;
mod model;
mod overlay;
mod painter;
mod plain;
pub(crate) mod py;
mod reply;
mod scanner;
mod snapshot;
mod state;
mod tee;
