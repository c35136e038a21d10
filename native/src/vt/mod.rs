//! The terminal model: what a screen shows after a stream of bytes, its history, and the bytes that
//! bring another terminal to the same picture.

mod history;
mod line_text;
mod mode_writer;
mod model;
mod out;
mod overlay;
mod painter;
mod pen;
mod plain;
pub(crate) mod py;
mod reply;
mod row_writer;
mod scanner;
mod snapshot;
mod state;
mod tee;
