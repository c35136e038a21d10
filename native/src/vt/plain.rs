//! Plain text in bulk: of many lines of it only the last ones are seen, the others pass by and need no grid.

use alacritty_terminal::Term;
use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::Dimensions;
use alacritty_terminal::index::Line;
use alacritty_terminal::term::TermMode;
use alacritty_terminal::term::cell::Cell;
use alacritty_terminal::vte::ansi::{CharsetIndex, StandardCharset};
use memchr::{memchr, memrchr};

use super::snapshot::{BACKGROUND, FOREGROUND};
use super::state::Tracked;

/// Fewer bytes than this are not worth a look.
pub(super) const MIN_BYTES: usize = 4096;
/// What the grid gets before it is looked at again.
pub(super) const PIECE_BYTES: usize = 2048;

/// The size of the lines at the front of `data` that are printable ASCII and end in CR LF.
pub(super) fn lines(data: &[u8]) -> usize {
    let mut size = 0;
    while let Some(at) = memchr(b'\n', &data[size..]) {
        let Some((b'\r', body)) = data[size..size + at].split_last() else {
            break;
        };
        // Without an early exit the compiler makes vectors of it.
        if !body
            .iter()
            .fold(true, |all, byte| all & is_printable(*byte))
        {
            break;
        }
        size += at + 1;
    }
    size
}

fn is_printable(byte: u8) -> bool {
    byte.wrapping_sub(b' ') < 0x7f - b' '
}

/// Where the last `count` lines of `run` begin, if there are more, and these leave a character behind for a repetition.
pub(super) fn last_lines(run: &[u8], count: usize) -> Option<usize> {
    let mut start = run.len();
    for _ in 0..count {
        start = memrchr(b'\n', &run[..start.checked_sub(1)?])? + 1;
    }
    run[start..]
        .iter()
        .any(|byte| is_printable(*byte))
        .then_some(start)
}

/// The size of the first lines of `data`, `PIECE_BYTES` or little more; all of it if there is no such place.
pub(super) fn piece(data: &[u8]) -> usize {
    data.get(PIECE_BYTES..)
        .and_then(|rest| memchr(b'\n', rest))
        .map_or(data.len(), |at| PIECE_BYTES + at + 1)
}

/// Whether plain lines do nothing but scroll the whole main screen: the cursor is at the begin of a blank last row, and every
/// mode and the pen are as usual.
pub(super) fn only_scrolls(term: &Term<VoidListener>, tracked: &Tracked) -> bool {
    let grid = term.grid();
    let rows = grid.screen_lines();
    let modes = &tracked.modes;
    let cursor = &grid.cursor;
    rows > 1
        && !term.mode().contains(TermMode::ALT_SCREEN)
        && modes.margins == (0, rows)
        && modes.wrap
        && !modes.insert
        && !modes.newline
        && cursor.point.line.0 + 1 == rows as i32
        && cursor.point.column.0 == 0
        && !cursor.input_needs_wrap
        && tracked.charset == CharsetIndex::G0
        && cursor.charsets[CharsetIndex::G0] == StandardCharset::Ascii
        && is_blank(&cursor.template)
        && grid[Line(rows as i32 - 1)][..].iter().all(is_blank)
}

fn is_blank(cell: &Cell) -> bool {
    cell.c == ' '
        && cell.fg == FOREGROUND
        && cell.bg == BACKGROUND
        && cell.flags.is_empty()
        && cell.extra.is_none()
}

/// The rows that a run of plain lines makes: text, and whether the next row continues it.
pub(super) fn rows(run: &[u8], cols: usize) -> impl Iterator<Item = (&[u8], bool)> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let body = &rest[..end - 1];
        if body.len() > cols {
            rest = &rest[cols..];
            return Some((&body[..cols], true));
        }
        rest = &rest[end + 1..];
        let size = body
            .iter()
            .rposition(|byte| *byte != b' ')
            .map_or(0, |last| last + 1);
        Some((&body[..size], false))
    })
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
