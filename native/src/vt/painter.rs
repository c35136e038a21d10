//! Bytes that bring a terminal to a picture: all of it, or what differs from an earlier one.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::vte::ansi::{CharsetIndex, Color, NamedColor, StandardCharset};

use super::history::Line as HistoryLine;
use super::snapshot::{
    BACKGROUND, BLINK, CHARSETS, Cursor, FOREGROUND, Row, Snapshot, Style, is_default_blank,
    seen_as,
};
use super::state::{Kitty, Modes};

/// Shorter runs of blanks are printed, longer ones erased.
const ERASE_RUN: usize = 8;
/// Longer output is applied by the terminal as one update.
const SYNC_BYTES: usize = 48;

/// Output, with what is known of the terminal that receives it.
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
    rows: usize,
    cols: usize,
    /// Rows and columns of the terminal's window: not less. What is beyond the screen stays blank.
    window: (usize, usize),
    /// None: not known, so the next move must be absolute.
    pub(super) position: Option<(usize, usize)>,
    /// The last character filled this row, so that the next one would wrap.
    edge: Option<usize>,
    pub(super) pen: Style,
    pub(super) modes: Modes,
    charsets: [StandardCharset; 4],
    charset: CharsetIndex,
}

impl Out {
    pub(super) fn new(rows: usize, cols: usize, cursor: &Cursor, modes: &Modes) -> Self {
        Self {
            bytes: Vec::new(),
            rows,
            cols,
            window: (rows, cols),
            position: (!cursor.pending_wrap).then_some((cursor.row, cursor.col)),
            edge: None,
            pen: cursor.pen.clone(),
            modes: modes.clone(),
            charsets: cursor.charsets,
            charset: cursor.charset,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn csi(&mut self, args: std::fmt::Arguments<'_>) {
        self.push(b"\x1b[");
        let _ = self.bytes.write_fmt(args);
    }

    fn private(&mut self, number: u16, on: bool) {
        self.csi(format_args!("?{number}{}", if on { 'h' } else { 'l' }));
    }

    fn nowhere(&mut self) {
        self.position = None;
        self.edge = None;
    }

    /// Modes in which printing and moving do what they say.
    pub(super) fn plain(&mut self) {
        self.plain_charset();
        if self.modes.origin {
            self.private(6, false);
            self.modes.origin = false;
            self.nowhere();
        }
        if self.modes.insert {
            self.push(b"\x1b[4l");
            self.modes.insert = false;
        }
        if !self.modes.wrap {
            self.private(7, true);
            self.modes.wrap = true;
        }
        if self.modes.newline {
            self.push(b"\x1b[20l");
            self.modes.newline = false;
        }
        if self.modes.margins != (0, self.rows) {
            self.set_region((0, self.rows));
            self.modes.margins = (0, self.rows);
        }
    }

    /// Where the terminal scrolls; moves the cursor. In a higher window that is never all of it, if it can be less.
    fn set_region(&mut self, (top, end): (usize, usize)) {
        if (top, end) == (0, self.window.0) || end < top + 2 {
            self.push(b"\x1b[r");
        } else {
            self.csi(format_args!("{};{end}r", top + 1));
        }
        self.nowhere();
    }

    /// Entering or leaving the alternate screen may have changed where the terminal scrolls.
    fn keep_region(&mut self) {
        if self.rows < self.window.0 {
            self.set_region((0, self.rows));
        }
    }

    /// G0 shown, and ASCII in it.
    pub(super) fn plain_charset(&mut self) {
        let [_, g1, g2, g3] = self.charsets;
        self.set_charsets(&[StandardCharset::Ascii, g1, g2, g3], CharsetIndex::G0);
    }

    fn set_charsets(&mut self, sets: &[StandardCharset; 4], shown: CharsetIndex) {
        for index in CHARSETS {
            let slot = index as usize;
            if self.charsets[slot] != sets[slot] {
                let name = match sets[slot] {
                    StandardCharset::Ascii => b'B',
                    StandardCharset::SpecialCharacterAndLineDrawing => b'0',
                };
                self.push(&[0x1b, b"()*+"[slot], name]);
            }
        }
        self.charsets = *sets;
        if self.charset != shown {
            match shown {
                CharsetIndex::G0 => self.push(b"\x0f"),
                CharsetIndex::G1 => self.push(b"\x0e"),
                CharsetIndex::G2 => self.push(b"\x1bn"),
                CharsetIndex::G3 => self.push(b"\x1bo"),
            }
            self.charset = shown;
        }
    }

    pub(super) fn goto(&mut self, row: usize, col: usize) {
        if self.position == Some((row, col)) {
            return;
        }
        let mut best: Vec<u8> = Vec::new();
        let offer = |best: &mut Vec<u8>, way: Vec<u8>| {
            if best.is_empty() || way.len() < best.len() {
                *best = way;
            }
        };
        // Rows count from the top margin while origin mode is on.
        let top = if self.modes.origin {
            self.modes.margins.0
        } else {
            0
        };
        let line = row.saturating_sub(top) + 1;
        offer(
            &mut best,
            match (line, col) {
                (1, 0) => b"\x1b[H".to_vec(),
                (_, 0) => format!("\x1b[{line}H").into_bytes(),
                _ => format!("\x1b[{line};{}H", col + 1).into_bytes(),
            },
        );
        if let Some((from, at)) = self.position {
            if from == row {
                if col == 0 {
                    offer(&mut best, b"\r".to_vec());
                } else if col < at {
                    if at - col <= 3 {
                        offer(&mut best, vec![8; at - col]);
                    }
                    offer(&mut best, short(at - col, 'D'));
                } else {
                    offer(&mut best, short(col - at, 'C'));
                }
                offer(&mut best, short(col + 1, 'G'));
            } else if col == 0
                && row > from
                && row - from <= 2
                && self.modes.margins == (0, self.rows)
            {
                offer(&mut best, b"\r\n".repeat(row - from));
            }
        }
        self.push(&best);
        self.position = Some((row, col));
        self.edge = None;
    }

    pub(super) fn set_pen(&mut self, to: &Style) {
        if self.pen == *to {
            return;
        }
        sgr(&mut self.bytes, &self.pen, to);
        if self.pen.link != to.link {
            match &to.link {
                None => self.push(b"\x1b]8;;\x1b\\"),
                Some(link) => {
                    let _ = write!(self.bytes, "\x1b]8;id={};{}\x1b\\", link.id(), link.uri());
                }
            }
        }
        self.pen = to.clone();
    }

    fn set_pen_of(&mut self, cell: &Cell) {
        // A blank between words looks the same in their pen.
        let same = is_default_blank(cell) && self.pen.leaves_blank();
        if !same && !self.pen.fits(cell) {
            self.set_pen(&Style::of(cell));
        }
    }

    /// Print the character of a cell where the cursor is.
    fn put(&mut self, cell: &Cell) {
        self.set_pen_of(cell);
        let mut utf8 = [0; 4];
        self.push(cell.c.encode_utf8(&mut utf8).as_bytes());
        for mark in cell.zerowidth().into_iter().flatten() {
            self.push(mark.encode_utf8(&mut utf8).as_bytes());
        }
        let width = if cell.flags.contains(Flags::WIDE_CHAR) {
            2
        } else {
            1
        };
        self.advance(width, width_in_doubt(cell));
    }

    pub(super) fn advance(&mut self, width: usize, doubt: bool) {
        let Some((row, col)) = self.position else {
            return;
        };
        if col + width >= self.window.1 {
            self.position = None;
            self.edge = Some(row);
        } else if doubt {
            self.position = None;
        } else {
            self.position = Some((row, col + width));
        }
    }

    /// Rewrite the character that covers a cell, keeping the row's wrapping.
    pub(super) fn rewrite(&mut self, lines: &[Arc<Row>], row: usize, col: usize) {
        let line = &lines[row];
        let col = if line.width(col) == 0 { col - 1 } else { col };
        let last = col + line.width(col) >= self.cols;
        let wraps = last && line.wrapped && row + 1 < lines.len();
        self.goto(row, col);
        if wraps && fills(lines, row) {
            self.erase_last(lines, row);
        } else {
            self.put(&line.cells[col]);
        }
        if wraps {
            self.continue_on(lines, row + 1);
        }
    }

    /// The first character of a row, through the margin of the one above, so that the terminal joins them again.
    fn continue_on(&mut self, lines: &[Arc<Row>], row: usize) {
        let line = &lines[row];
        self.position = Some((row, 0));
        self.edge = None;
        self.put(&line.cells[0]);
        // A wide one on two columns is the last of its row too.
        if line.wrapped && row + 1 < lines.len() && line.width(0) == self.cols {
            self.continue_on(lines, row + 1);
        }
    }

    /// Back to what a row is behind its text: erased, since printed blanks would be copied and kept.
    pub(super) fn erase_behind(&mut self, row: usize, col: usize) {
        self.goto(row, col);
        self.set_pen(&Style::default());
        self.push(b"\x1b[K");
    }

    /// A whole row that does not go on in the next: erased first, since some terminals take a row to be as long as it ever was.
    pub(super) fn anew(&mut self, lines: &[Arc<Row>], row: usize) {
        let line = &lines[row];
        self.erase_behind(row, 0);
        let mut col = 0;
        if row > 0 && lines[row - 1].wrapped && line.len > 0 {
            self.rewrite(lines, row - 1, self.cols - 1);
            col = line.width(0);
        }
        while col < line.len {
            self.goto(row, col);
            self.put(&line.cells[col]);
            col += line.width(col).max(1);
        }
    }

    /// Free the last cell and stay on it, so that a wide character wraps by itself.
    fn erase_last(&mut self, lines: &[Arc<Row>], row: usize) {
        self.goto(row, self.cols - 1);
        self.set_pen_of(&lines[row + 1].cells[0]);
        self.push(b"\x1b[K");
    }

    /// Rows from `base` to `target`; plain modes.
    pub(super) fn rows(&mut self, base: &mut [Arc<Row>], target: &[Arc<Row>]) {
        self.scroll(base, target);
        let mut joined = false;
        for row in 0..target.len() {
            let goes_on = |line: &Row| line.wrapped && row + 1 < target.len();
            if !joined && base[row].same(&target[row]) {
                continue;
            }
            let wraps = goes_on(&target[row]);
            joined = self.row(row, &base[row], target, joined, wraps, goes_on(&base[row]));
        }
    }

    /// One row; true when the next row's first character must follow at once.
    fn row(
        &mut self,
        row: usize,
        base: &Row,
        lines: &[Arc<Row>],
        joined: bool,
        wraps: bool,
        wrapped: bool,
    ) -> bool {
        let cols = self.cols;
        let target = &*lines[row];
        let filler = wraps && fills(lines, row);
        let mut last_due = wraps != wrapped || (wraps && base.filler != target.filler);
        let mut col = 0;
        while col < cols {
            let width = target.width(col).max(1);
            let first_due = joined && col == 0;
            let is_last = col + width >= cols;
            if !(first_due || (is_last && last_due)) && equal(base, target, col, width) {
                col += width;
                continue;
            }
            last_due |= is_last && wraps;
            if first_due {
                self.position = Some((row, 0));
                self.edge = None;
            } else {
                self.go_within(row, col, target);
            }
            if is_last && filler {
                self.erase_last(lines, row);
                return true;
            }
            if !first_due && !wraps && col >= target.len {
                self.set_pen(&Style::default());
                self.push(b"\x1b[K");
                return false;
            }
            let run = if first_due {
                0
            } else {
                blank_run(base, target, col)
            };
            if run >= ERASE_RUN && !(wraps && col + run >= cols) {
                self.set_pen(&Style::default());
                self.csi(format_args!("{run}X"));
                col += run;
                continue;
            }
            self.put(&target.cells[col]);
            col += width;
        }
        wraps && last_due && self.edge == Some(row)
    }

    /// Go to a cell of this row; a short way over equal-looking text is reprinted.
    fn go_within(&mut self, row: usize, col: usize, target: &Row) {
        if let Some((at_row, at)) = self.position
            && at_row == row
            && at < col
            && col - at <= 3
        {
            let between = &target.cells[at..col];
            let alike =
                |cell: &Cell| cell.c.is_ascii() && cell.extra.is_none() && self.pen.fits(cell);
            if (at..col).all(|at| target.width(at) == 1) && between.iter().all(alike) {
                for cell in between {
                    self.put(cell);
                }
            }
        }
        self.goto(row, col);
    }

    /// Find rows that have only moved, and move them.
    fn scroll(&mut self, base: &mut [Arc<Row>], target: &[Arc<Row>]) {
        let count = target.len();
        let Some(top) = (0..count).find(|&row| !base[row].same(&target[row])) else {
            return;
        };
        let bottom = (0..count)
            .rposition(|row| !base[row].same(&target[row]))
            .unwrap_or(top);
        let height = bottom + 1 - top;
        // Blank rows are equal everywhere, so only text counts, and only where it must be drawn.
        let gain = |row: usize, from: usize| {
            if target[row].len > 0 && target[row].same(&base[from]) && !target[row].same(&base[row])
            {
                target[row].len as isize
            } else if base[row].len > 0 && target[row].same(&base[row]) {
                -(target[row].len as isize)
            } else {
                0
            }
        };
        let mut best = (0, 0, false);
        for by in 1..height {
            let up: isize = (top..=bottom - by).map(|row| gain(row, row + by)).sum();
            let down: isize = (top + by..=bottom).map(|row| gain(row, row - by)).sum();
            if up - by as isize > best.0 {
                best = (up - by as isize, by, false);
            }
            if down - by as isize > best.0 {
                best = (down - by as isize, by, true);
            }
        }
        let (gained, by, down) = best;
        if gained < 24 {
            return;
        }
        if base[count - 1].wrapped {
            // Never brought over: behind the last row there is none to print on in.
            base[count - 1] = Arc::new(base[count - 1].cut_off());
        }
        self.set_pen(&Style::default());
        let region = (top, bottom + 1) != (0, count);
        if region {
            self.set_region((top, bottom + 1));
        }
        if down {
            self.goto(top, 0);
            for _ in 0..by {
                self.push(b"\x1bM");
            }
            base[top..=bottom].rotate_right(by);
        } else {
            self.goto(bottom, 0);
            self.push(&b"\n".repeat(by));
            base[top..=bottom].rotate_left(by);
        }
        let blank = Row::blank(self.cols);
        let fresh = if down {
            top..top + by
        } else {
            bottom + 1 - by..bottom + 1
        };
        for row in fresh {
            base[row] = Arc::clone(&blank);
        }
        if region {
            self.set_region((0, self.rows));
        }
    }

    /// Cursor, character sets and pen, as they were when DECSC or the picture was taken.
    pub(super) fn place(&mut self, cursor: &Cursor, lines: &[Arc<Row>]) {
        if cursor.pending_wrap {
            let line = &lines[cursor.row];
            let width = line.width(self.cols - 1);
            let col = if width == 0 {
                self.cols - 2
            } else {
                self.cols - 1
            };
            if self.edge != Some(cursor.row) {
                self.plain_charset();
                self.goto(cursor.row, col);
                self.put(&line.cells[col]);
            }
        } else {
            self.goto(cursor.row, cursor.col);
        }
        self.set_charsets(&cursor.charsets, cursor.charset);
        self.set_pen(&cursor.pen);
    }

    /// The same, and origin mode: the region is the whole screen, so that the cursor can be anywhere in it.
    fn place_saved(&mut self, cursor: &Cursor, lines: &[Arc<Row>]) {
        if cursor.origin {
            self.private(6, true);
            self.modes.origin = true;
            self.nowhere();
        }
        self.place(cursor, lines);
    }

    /// All modes but origin and margins, whose setting moves the cursor.
    fn set_modes(&mut self, to: &Modes, blind: bool) {
        let from = self.modes.clone();
        let flags = [
            (1, from.app_cursor, to.app_cursor),
            (5, from.reverse, to.reverse),
            (1004, from.focus, to.focus),
            (2004, from.paste, to.paste),
            (2031, from.scheme_reports, to.scheme_reports),
            (2048, from.size_reports, to.size_reports),
        ];
        for (number, before, after) in flags {
            if blind || before != after {
                self.private(number, after);
            }
        }
        if blind || from.app_keypad != to.app_keypad {
            self.push(if to.app_keypad { b"\x1b=" } else { b"\x1b>" });
        }
        self.switch(from.mouse, to.mouse, &[9, 1000, 1002, 1003], blind);
        self.switch(
            from.mouse_encoding,
            to.mouse_encoding,
            &[1005, 1006, 1015, 1016],
            blind,
        );
        if let Some(on) = to.alternate_scroll
            && (blind || from.alternate_scroll != Some(on))
        {
            self.private(1007, on);
        }
        if blind
            || from.cursor_style != to.cursor_style
            || (from.blink.is_some() && to.blink.is_none())
        {
            self.csi(format_args!("{} q", to.cursor_style));
        }
        if let Some(on) = to.blink
            && (blind || from.blink != to.blink || from.cursor_style != to.cursor_style)
        {
            self.private(12, on);
        }
        self.set_kitty(&from.kitty, &to.kitty, blind);
        if blind || from.other_keys != to.other_keys {
            self.csi(format_args!(">4;{}m", to.other_keys));
        }
        if from.tabs != to.tabs || blind {
            self.set_tabs(&to.tabs);
        }
        if from.title != to.title {
            let _ = write!(self.bytes, "\x1b]2;{}\x1b\\", to.title);
        }
        if from.pointer != to.pointer {
            let name = if to.pointer.is_empty() {
                "default"
            } else {
                &to.pointer
            };
            let _ = write!(self.bytes, "\x1b]22;{name}\x1b\\");
        }
        self.set_palette(&from, to);
        let kept = (
            from.origin,
            from.insert,
            from.wrap,
            from.newline,
            from.margins,
            from.visible,
        );
        self.modes = to.clone();
        let modes = &mut self.modes;
        (
            modes.origin,
            modes.insert,
            modes.wrap,
            modes.newline,
            modes.margins,
            modes.visible,
        ) = kept;
    }

    fn switch(&mut self, from: u16, to: u16, all: &[u16], blind: bool) {
        if blind {
            for &number in all.iter().filter(|&&number| number != to) {
                self.private(number, false);
            }
        } else if from != to && from != 0 {
            self.private(from, false);
        }
        if to != 0 && (blind || from != to) {
            self.private(to, true);
        }
    }

    /// `blind`: whatever is on the terminal's stack.
    fn set_kitty(&mut self, from: &Kitty, to: &Kitty, blind: bool) {
        if !blind && from == to {
            return;
        }
        let mut kept = 0;
        if blind {
            self.push(b"\x1b[<64u");
        } else {
            kept = from
                .pushed
                .iter()
                .zip(&to.pushed)
                .take_while(|(a, b)| a == b)
                .count();
            if from.base != to.base {
                kept = 0;
            }
            match from.pushed.len() - kept {
                0 => {}
                1 => self.push(b"\x1b[<u"),
                more => self.csi(format_args!("<{more}u")),
            }
        }
        if (blind && to.base != 0) || (!blind && from.base != to.base) {
            self.csi(format_args!("={}u", to.base));
        }
        for flags in &to.pushed[kept..] {
            self.csi(format_args!(">{flags}u"));
        }
    }

    /// Moves the cursor.
    fn set_tabs(&mut self, tabs: &[bool]) {
        if tabs
            .iter()
            .enumerate()
            .all(|(col, &stop)| stop == (col % 8 == 0))
        {
            self.push(b"\x1b[?5W");
            return;
        }
        self.push(b"\x1b[3g");
        let (row, _) = self.position.unwrap_or((0, 0));
        for col in (0..tabs.len()).filter(|&col| tabs[col]) {
            self.goto(row, col);
            self.push(b"\x1bH");
        }
    }

    fn set_palette(&mut self, from: &Modes, to: &Modes) {
        for (index, _) in &from.palette {
            if !to.palette.iter().any(|(kept, _)| kept == index) {
                let _ = match index {
                    256 => write!(self.bytes, "\x1b]110\x1b\\"),
                    257 => write!(self.bytes, "\x1b]111\x1b\\"),
                    258 => write!(self.bytes, "\x1b]112\x1b\\"),
                    _ => write!(self.bytes, "\x1b]104;{index}\x1b\\"),
                };
            }
        }
        for (index, colour) in &to.palette {
            if from.palette.contains(&(*index, *colour)) {
                continue;
            }
            let _ = match index {
                256..=258 => write!(self.bytes, "\x1b]{};", index - 246),
                _ => write!(self.bytes, "\x1b]4;{index};"),
            };
            let _ = write!(
                self.bytes,
                "rgb:{:02x}/{:02x}/{:02x}\x1b\\",
                colour.r, colour.g, colour.b
            );
        }
    }

    /// The modes that `plain` took away, as the picture has them.
    pub(super) fn region_modes(&mut self, to: &Modes) {
        if self.modes.margins != to.margins {
            self.set_region(to.margins);
            self.modes.margins = to.margins;
        }
        if self.modes.origin != to.origin {
            self.private(6, to.origin);
            self.modes.origin = to.origin;
            self.nowhere();
        }
        if self.modes.insert != to.insert {
            self.push(if to.insert { b"\x1b[4h" } else { b"\x1b[4l" });
            self.modes.insert = to.insert;
        }
        if self.modes.wrap != to.wrap {
            self.private(7, to.wrap);
            self.modes.wrap = to.wrap;
        }
        if self.modes.newline != to.newline {
            self.push(if to.newline { b"\x1b[20h" } else { b"\x1b[20l" });
            self.modes.newline = to.newline;
        }
    }

    fn visibility(&mut self, on: bool) {
        if self.modes.visible != on {
            self.private(25, on);
            self.modes.visible = on;
        }
    }

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

fn short(count: usize, letter: char) -> Vec<u8> {
    if count == 1 {
        format!("\x1b[{letter}").into_bytes()
    } else {
        format!("\x1b[{count}{letter}").into_bytes()
    }
}

/// The last cell is what the terminal leaves there when the next row's wide character does not fit.
fn fills(lines: &[Arc<Row>], row: usize) -> bool {
    let (line, next) = (&lines[row], &lines[row + 1]);
    let (left, wide) = (&line.cells[line.cells.len() - 1], &next.cells[0]);
    let mut blank = wide.clone();
    blank.c = ' ';
    blank.flags.remove(Flags::WIDE_CHAR);
    line.filler && next.width(0) == 2 && *left == seen_as(&blank)
}

fn equal(base: &Row, target: &Row, col: usize, width: usize) -> bool {
    base.cells[col..col + width] == target.cells[col..col + width]
}

/// Default blanks from `col` on, up to the last one that has to change.
fn blank_run(base: &Row, target: &Row, col: usize) -> usize {
    let mut run = 0;
    for at in col..target.cells.len() {
        if !is_default_blank(&target.cells[at]) {
            break;
        }
        if base.cells[at] != target.cells[at] {
            run = at + 1 - col;
        }
    }
    run
}

/// Terminals disagree on how wide these are.
fn width_in_doubt(cell: &Cell) -> bool {
    let c = cell.c as u32;
    (c >= 0x2300
        && !matches!(c, 0x2500..=0x25ff | 0x2e80..=0xd7ff | 0xf900..=0xfaff | 0xff00..=0xffef | 0x2_0000..=0x3_ffff)
        && (c >= 0xe000 || matches!(c, 0x2300..=0x23ff | 0x2600..=0x27bf | 0x2b00..=0x2bff)))
        || cell
            .zerowidth()
            .into_iter()
            .flatten()
            .any(|mark| !matches!(u32::from(*mark), 0x300..=0x36f))
}

const ATTRIBUTES: [(Flags, u8, u8); 7] = [
    (Flags::BOLD, 1, 22),
    (Flags::DIM, 2, 22),
    (Flags::ITALIC, 3, 23),
    (BLINK, 5, 25),
    (Flags::INVERSE, 7, 27),
    (Flags::HIDDEN, 8, 28),
    (Flags::STRIKEOUT, 9, 29),
];

/// The shortest SGR sequence between two looks; nothing when they are equal but for the link.
pub(super) fn sgr(bytes: &mut Vec<u8>, from: &Style, to: &Style) {
    let look = |style: &Style| (style.fg, style.bg, style.flags, style.underline);
    if look(from) == look(to) {
        return;
    }
    let step = parameters(from, to);
    let mut anew = parameters(&Style::default(), to);
    if !anew.is_empty() {
        anew.insert(0, b';');
        anew.insert(0, b'0');
    }
    bytes.extend_from_slice(b"\x1b[");
    bytes.extend_from_slice(if anew.len() < step.len() {
        &anew
    } else {
        &step
    });
    bytes.push(b'm');
}

fn parameters(from: &Style, to: &Style) -> Vec<u8> {
    let mut list: Vec<u8> = Vec::new();
    let mut add = |text: std::fmt::Arguments<'_>| {
        if !list.is_empty() {
            list.push(b';');
        }
        let _ = list.write_fmt(text);
    };
    let gone = from.flags - to.flags;
    let mut on = to.flags - from.flags;
    if gone.intersects(Flags::BOLD | Flags::DIM) {
        // One code ends both.
        on |= to.flags & (Flags::BOLD | Flags::DIM);
        add(format_args!("22"));
    }
    for (flag, _, off) in ATTRIBUTES {
        if off != 22 && gone.contains(flag) {
            add(format_args!("{off}"));
        }
    }
    for (flag, code, _) in ATTRIBUTES {
        if on.contains(flag) {
            add(format_args!("{code}"));
        }
    }
    let lines = to.flags & Flags::ALL_UNDERLINES;
    if from.flags & Flags::ALL_UNDERLINES != lines {
        match underline_number(lines) {
            0 => add(format_args!("24")),
            1 => add(format_args!("4")),
            kind => add(format_args!("4:{kind}")),
        }
    }
    if from.fg != to.fg {
        match colour(to.fg) {
            Some(Paint::Basic(index)) if index < 8 => add(format_args!("{}", 30 + index)),
            Some(Paint::Basic(index)) => add(format_args!("{}", 82 + index)),
            Some(Paint::Index(index)) => add(format_args!("38;5;{index}")),
            Some(Paint::Rgb(r, g, b)) => add(format_args!("38;2;{r};{g};{b}")),
            None => add(format_args!("39")),
        }
    }
    if from.bg != to.bg {
        match colour(to.bg) {
            Some(Paint::Basic(index)) if index < 8 => add(format_args!("{}", 40 + index)),
            Some(Paint::Basic(index)) => add(format_args!("{}", 92 + index)),
            Some(Paint::Index(index)) => add(format_args!("48;5;{index}")),
            Some(Paint::Rgb(r, g, b)) => add(format_args!("48;2;{r};{g};{b}")),
            None => add(format_args!("49")),
        }
    }
    if from.underline != to.underline {
        match to.underline.and_then(colour) {
            Some(Paint::Basic(index) | Paint::Index(index)) => add(format_args!("58:5:{index}")),
            Some(Paint::Rgb(r, g, b)) => add(format_args!("58:2::{r}:{g}:{b}")),
            None => add(format_args!("59")),
        }
    }
    list
}

/// The number behind `4:`.
pub(super) fn underline_number(flags: Flags) -> u8 {
    [
        Flags::UNDERLINE,
        Flags::DOUBLE_UNDERLINE,
        Flags::UNDERCURL,
        Flags::DOTTED_UNDERLINE,
        Flags::DASHED_UNDERLINE,
    ]
    .iter()
    .zip(1..)
    .find_map(|(flag, number)| flags.contains(*flag).then_some(number))
    .unwrap_or(0)
}

pub(super) enum Paint {
    Basic(u8),
    Index(u8),
    Rgb(u8, u8, u8),
}

/// None: the default colour.
pub(super) fn colour(colour: Color) -> Option<Paint> {
    match colour {
        Color::Named(name) if (name as usize) <= NamedColor::BrightWhite as usize => {
            Some(Paint::Basic(name as u8))
        }
        Color::Named(_) => None,
        Color::Indexed(index) => Some(Paint::Index(index)),
        Color::Spec(rgb) => Some(Paint::Rgb(rgb.r, rgb.g, rgb.b)),
    }
}

/// A row as text with SGR, the pen at its default on both sides.
pub(super) fn line_text(cells: &[Cell]) -> Vec<u8> {
    let wrapped = cells
        .last()
        .is_some_and(|cell| cell.flags.contains(Flags::WRAPLINE));
    let len = if wrapped {
        cells.len()
    } else {
        cells
            .iter()
            .rposition(|cell| {
                !(matches!(cell.c, ' ' | '\t')
                    && cell.bg == BACKGROUND
                    && (cell.flags.is_empty() || !seen_when_blank(cell))
                    && cell.extra.is_none())
            })
            .map_or(0, |last| last + 1)
    };
    let mut text = Vec::with_capacity(len + 8);
    let mut pen = Style::default();
    // Most rows begin with much plain text, and most are nothing else.
    let plain = cells[..len]
        .iter()
        .take_while(|cell| is_plain(cell))
        .count();
    text.extend(cells[..plain].iter().map(|cell| match cell.c {
        '\t' => b' ',
        c => c as u8,
    }));
    let mut utf8 = [0; 4];
    for cell in &cells[plain..len] {
        if cell
            .flags
            .intersects(Flags::WIDE_CHAR_SPACER | Flags::LEADING_WIDE_CHAR_SPACER)
        {
            continue;
        }
        if !pen.fits(cell) {
            let to = Style {
                link: None,
                ..Style::of(cell)
            };
            sgr(&mut text, &pen, &to);
            pen = to;
        }
        if cell.c == '\t' {
            text.push(b' ');
        } else {
            text.extend_from_slice(cell.c.encode_utf8(&mut utf8).as_bytes());
        }
        for mark in cell.zerowidth().into_iter().flatten() {
            text.extend_from_slice(mark.encode_utf8(&mut utf8).as_bytes());
        }
    }
    sgr(&mut text, &pen, &Style::default());
    text
}

/// ASCII in the default pen.
fn is_plain(cell: &Cell) -> bool {
    cell.c.is_ascii()
        && (cell.flags - Flags::WRAPLINE).is_empty()
        && cell.extra.is_none()
        && matches!(cell.fg, Color::Named(NamedColor::Foreground))
        && matches!(cell.bg, Color::Named(NamedColor::Background))
}

fn seen_when_blank(cell: &Cell) -> bool {
    cell.flags.intersects(
        Flags::INVERSE
            | Flags::STRIKEOUT
            | Flags::ALL_UNDERLINES
            | Flags::WIDE_CHAR_SPACER
            | Flags::WRAPLINE,
    ) || (cell.fg != FOREGROUND && cell.flags.contains(Flags::INVERSE))
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

/// Columns of the first character of a line of text with SGR.
fn first_width(line: &HistoryLine) -> usize {
    use unicode_width::UnicodeWidthChar;
    plain_text(&line.text)
        .chars()
        .find_map(UnicodeWidthChar::width)
        .unwrap_or(1)
}

/// Columns of a line of text with SGR.
fn text_width(text: &[u8]) -> usize {
    use unicode_width::UnicodeWidthChar;
    plain_text(text)
        .chars()
        .filter_map(UnicodeWidthChar::width)
        .sum()
}

/// Text without its SGR sequences.
pub(super) fn plain_text(text: &[u8]) -> String {
    let mut kept = String::with_capacity(text.len());
    let text = String::from_utf8_lossy(text);
    let mut parts = text.split("\x1b[");
    kept.push_str(parts.next().unwrap_or(""));
    for part in parts {
        kept.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    kept
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
