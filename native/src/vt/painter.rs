//! Bytes that bring a terminal to a picture: all of it, or what differs from an earlier one.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use alacritty_terminal::term::cell::Flags;

use super::history::Line as HistoryLine;
use super::line_text::{first_width, text_width};
use super::out::Out;
use super::row_writer::fills;
use super::snapshot::{BACKGROUND, Cursor, Row, Snapshot, Style};
use super::state::{Kitty, Modes};

/// Longer output is applied by the terminal as one update.
const SYNC_BYTES: usize = 48;

impl Out {
    fn finish(&mut self, to: &Snapshot) {
        self.region_modes(&to.modes);
        self.place(&to.cursor, &to.lines);
        self.visibility(to.modes.visible);
    }

    /// DECSC with this content; plain modes.
    fn save(&mut self, cursor: &Cursor, lines: &[Arc<Row>]) {
        self.place_saved(cursor, lines);
        self.push(b"\x1b7");
        self.plain();
        // Printing the last cell for a pending wrap has cut the line off from the next row.
        if cursor.pending_wrap && lines[cursor.row].wrapped && cursor.row + 1 < lines.len() {
            self.rewrite(lines, cursor.row, self.cols - 1);
        }
    }
}

/// The picture as a window shows it: where there are more columns nothing wraps at its right margin.
fn seen_in(screen: &Snapshot, window: (usize, usize)) -> Cow<'_, Snapshot> {
    if window.1 > screen.cols {
        Cow::Owned(screen.unwrapped())
    } else {
        Cow::Borrowed(screen)
    }
}

/// Everything, on a terminal of which nothing but its window's size is known. `past` are history lines to print above.
pub(super) fn full(
    to: &Snapshot,
    window: (usize, usize),
    past: &[HistoryLine],
    marker: &str,
) -> Vec<u8> {
    let to = &*seen_in(to, window);
    // A scroll region has two rows at least, so one row of a higher window does not scroll.
    let scrolls = to.rows > 1 || window.0 <= 1;
    let (past, marker) = if scrolls {
        (past, marker)
    } else {
        (&[][..], "")
    };
    let modes = Modes::new(to.rows, to.cols);
    let mut out = Out::new(to.rows, to.cols, &Cursor::default(), &modes);
    out.window = (window.0.max(to.rows), window.1.max(to.cols));
    // End whatever sequence is open; then one update, without a wandering cursor.
    out.push(b"\x18\x1b\\\x1b[?2026h\x1b[?25l\x1b[<64u\x1b[?1049l");
    out.push(b"\x1b[m\x1b]8;;\x1b\\\x1b(B\x1b)B\x1b*B\x1b+B\x0f");
    // Not cleared from the corner: tmux would move the whole screen into its history (scroll-on-clear).
    out.push(b"\x1b[?6l\x1b[?7h\x1b[4l\x1b[20l\x1b[r\x1b[?69l\x1b[H\x1b[2K\x1b[2;1H\x1b[J\x1b[H");
    out.keep_region();
    out.modes.visible = false;
    let mut shown = vec![Row::blank(to.cols); to.rows];
    match &to.main {
        None if past.is_empty() && marker.is_empty() => out.rows(&mut shown, &to.lines),
        None => through(&mut out, &to.lines, past, marker),
        Some(main) => {
            if past.is_empty() && marker.is_empty() {
                out.rows(&mut shown, &main.lines);
            } else {
                through(&mut out, &main.lines, past, marker);
            }
            out.set_kitty(&Kitty::default(), &to.modes.kitty_other, true);
            out.place_saved(&main.cursor, &main.lines);
            out.push(b"\x1b[?1049h");
            out.keep_region();
            out.plain();
            out.push(b"\x1b[H\x1b[J");
            out.position = Some((0, 0));
            out.edge = None;
            if out.pen.bg != BACKGROUND {
                out.set_pen(&Style::default());
                out.push(b"\x1b[J");
            }
            let mut shown = vec![Row::blank(to.cols); to.rows];
            out.rows(&mut shown, &to.lines);
        }
    }
    if to.main.is_none() || to.saved != Cursor::default() {
        out.save(&to.saved, &to.lines);
    }
    out.plain_charset();
    out.set_modes(&to.modes, true);
    out.finish(to);
    out.push(b"\x1b[?2026l");
    out.bytes
}

/// History and then the rows, printed on so that the history scrolls off at the top.
fn through(out: &mut Out, lines: &[Arc<Row>], past: &[HistoryLine], marker: &str) {
    let narrow = out.cols < out.window.1;
    if !marker.is_empty() {
        let text: String = marker.chars().filter(|c| !c.is_control()).collect();
        let _ = write!(out.bytes, "\x1b[2m{text}\x1b[m\r\n");
    }
    // Whether the next line begins at the left margin.
    let mut fits = !narrow;
    for (index, line) in past.iter().enumerate() {
        out.push(&line.text);
        // A line of another width would shift all that follows it on the screen.
        fits &= line.wrapped && {
            let width = text_width(&line.text);
            let wide = past.get(index + 1).map_or(lines[0].width(0), first_width) == 2;
            width == out.cols || (width + 1 == out.cols && wide)
        };
        // Only a character takes the cursor to the next row: a cleared row does not.
        let joins = index + 1 < past.len() || (fits && lines[0].len > 0);
        if !(line.wrapped && joins) {
            out.push(b"\r\n");
            fits = !narrow;
        }
    }
    for (index, line) in lines.iter().enumerate() {
        let last = index + 1 == lines.len();
        let len = if line.wrapped && !last {
            line.cells.len()
        } else if index > 0 && lines[index - 1].wrapped {
            line.len.max(1) // a blank takes the cursor here
        } else {
            line.len
        };
        let len = if !last && fills(lines, index) {
            len - 1
        } else {
            len
        };
        for cell in &line.cells[..len] {
            if !cell.flags.contains(Flags::WIDE_CHAR_SPACER) {
                out.put(cell);
            }
        }
        if !last && !line.wrapped {
            out.set_pen(&Style::default());
            out.push(b"\r\n");
        }
    }
    out.nowhere();
}

/// What differs, on a terminal that shows `base` in a window of this size.
pub(super) fn diff(base: &Snapshot, to: &Snapshot, window: (usize, usize)) -> Vec<u8> {
    if (base.rows, base.cols) != (to.rows, to.cols) {
        return full(to, window, &[], "");
    }
    let (base, to) = (&*seen_in(base, window), &*seen_in(to, window));
    let mut out = Out::new(to.rows, to.cols, &base.cursor, &base.modes);
    out.window = (window.0.max(to.rows), window.1.max(to.cols));
    let mut shown = base.lines.clone();
    let held = |screen: &Snapshot| screen.cursor.pending_wrap.then_some(screen.cursor.row);
    if let Some(row) = held(base).filter(|&row| shown[row].wrapped && held(to) != Some(row)) {
        // The terminal may have been told of the pending wrap by printing the last cell again.
        shown[row] = Arc::new(shown[row].cut_off());
    }
    let mut saved = Some(base.saved.clone());
    match (&base.main, &to.main) {
        (Some(before), Some(after)) => {
            if !before.same(after) || base.modes.kitty_other != to.modes.kitty_other {
                return full(to, window, &[], "");
            }
        }
        (None, None) => {}
        (None, Some(main)) => {
            out.plain();
            out.rows(&mut shown, &main.lines);
            out.set_kitty(&base.modes.kitty, &to.modes.kitty_other, false);
            out.place(&main.cursor, &main.lines);
            out.plain_charset();
            out.set_pen(&Style::default());
            // Placed again behind the pen and charset changes, since entering saves them all.
            out.place_saved(&main.cursor, &main.lines);
            out.push(b"\x1b[?1049h");
            out.keep_region();
            out.plain();
            out.set_pen(&Style::default());
            out.push(b"\x1b[H\x1b[J");
            out.position = Some((0, 0));
            out.edge = None;
            if base.modes.kitty_other != Kitty::default() || to.modes.kitty != Kitty::default() {
                out.set_kitty(&Kitty::default(), &to.modes.kitty, true);
            }
            out.modes.kitty = to.modes.kitty.clone();
            shown = vec![Row::blank(to.cols); to.rows];
            saved = None;
        }
        (Some(main), None) => {
            out.plain();
            out.push(b"\x1b[?1049l");
            out.nowhere();
            out.keep_region();
            out.pen = main.cursor.pen.clone();
            out.charsets = main.cursor.charsets;
            out.charset = main.cursor.charset;
            out.modes.origin = main.cursor.origin;
            out.modes.kitty = base.modes.kitty_other.clone();
            shown = main.lines.clone();
            saved = Some(main.cursor.clone());
        }
    }
    let cells = shown.iter().zip(&to.lines).any(|(a, b)| !a.same(b));
    let slot =
        saved.as_ref() != Some(&to.saved) && !(saved.is_none() && to.saved == Cursor::default());
    if cells || slot {
        out.plain();
    }
    out.rows(&mut shown, &to.lines);
    if slot {
        out.save(&to.saved, &to.lines);
    }
    if out.modes.tabs != to.modes.tabs {
        out.plain();
    }
    out.set_modes(&to.modes, false);
    let untouched = out.bytes.is_empty() && base.cursor.pending_wrap && to.cursor == base.cursor;
    if untouched && out.modes.margins == to.modes.margins && out.modes.origin == to.modes.origin {
        out.edge = Some(to.cursor.row);
    }
    out.finish(to);
    if out.bytes.len() > SYNC_BYTES {
        let mut whole = b"\x1b[?2026h".to_vec();
        whole.append(&mut out.bytes);
        whole.extend_from_slice(b"\x1b[?2026l");
        return whole;
    }
    out.bytes
}

#[cfg(test)]
#[path = "painter_tests.rs"]
mod tests;
