//! Output for a terminal, with what is known of it: moves, pen, character sets, single characters.

use std::io::Write;
use std::sync::Arc;

use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::vte::ansi::{CharsetIndex, StandardCharset};

use super::pen::sgr;
use super::snapshot::{CHARSETS, Cursor, Row, Style, is_default_blank};
use super::state::Modes;

/// Output, with what is known of the terminal that receives it.
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Rows and columns of the terminal's window: not less. What is beyond the screen stays blank.
    pub(super) window: (usize, usize),
    /// None: not known, so the next move must be absolute.
    pub(super) position: Option<(usize, usize)>,
    /// The last character filled this row, so that the next one would wrap.
    pub(super) edge: Option<usize>,
    pub(super) pen: Style,
    pub(super) modes: Modes,
    pub(super) charsets: [StandardCharset; 4],
    pub(super) charset: CharsetIndex,
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

    pub(super) fn csi(&mut self, args: std::fmt::Arguments<'_>) {
        self.push(b"\x1b[");
        let _ = self.bytes.write_fmt(args);
    }

    pub(super) fn private(&mut self, number: u16, on: bool) {
        self.csi(format_args!("?{number}{}", if on { 'h' } else { 'l' }));
    }

    pub(super) fn nowhere(&mut self) {
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
    pub(super) fn set_region(&mut self, (top, end): (usize, usize)) {
        if (top, end) == (0, self.window.0) || end < top + 2 {
            self.push(b"\x1b[r");
        } else {
            self.csi(format_args!("{};{end}r", top + 1));
        }
        self.nowhere();
    }

    /// Entering or leaving the alternate screen may have changed where the terminal scrolls.
    pub(super) fn keep_region(&mut self) {
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

    pub(super) fn set_pen_of(&mut self, cell: &Cell) {
        // A blank between words looks the same in their pen.
        let same = is_default_blank(cell) && self.pen.leaves_blank();
        if !same && !self.pen.fits(cell) {
            self.set_pen(&Style::of(cell));
        }
    }

    /// Print the character of a cell where the cursor is.
    pub(super) fn put(&mut self, cell: &Cell) {
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
    pub(super) fn place_saved(&mut self, cursor: &Cursor, lines: &[Arc<Row>]) {
        if cursor.origin {
            self.private(6, true);
            self.modes.origin = true;
            self.nowhere();
        }
        self.place(cursor, lines);
    }
}

fn short(count: usize, letter: char) -> Vec<u8> {
    if count == 1 {
        format!("\x1b[{letter}").into_bytes()
    } else {
        format!("\x1b[{count}{letter}").into_bytes()
    }
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
