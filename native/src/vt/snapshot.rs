//! Rows in a form that can be compared and shared, and the immutable picture made of them.

use std::sync::Arc;

use alacritty_terminal::Term;
use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::{Cursor as GridCursor, Dimensions};
use alacritty_terminal::index::Line;
use alacritty_terminal::term::cell::{Cell, Flags, Hyperlink};
use alacritty_terminal::vte::ansi::{CharsetIndex, Color, NamedColor, StandardCharset};

use super::state::{Beside, Modes};

pub(super) const FOREGROUND: Color = Color::Named(NamedColor::Foreground);
pub(super) const BACKGROUND: Color = Color::Named(NamedColor::Background);
/// Flags that belong to the layout of a row, not to the look of a cell.
const LAYOUT: Flags = Flags::WRAPLINE.union(Flags::LEADING_WIDE_CHAR_SPACER);
const HALVES: Flags = Flags::WIDE_CHAR.union(Flags::WIDE_CHAR_SPACER);
/// SGR 5 or 6, in the bit that the grid leaves free.
pub(super) const BLINK: Flags = Flags::from_bits_retain(1 << 15);
/// A blank with one of these is still seen.
const SEEN_ON_BLANK: Flags = Flags::INVERSE
    .union(Flags::ALL_UNDERLINES)
    .union(Flags::STRIKEOUT);

/// The look of a cell, or of the pen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) fg: Color,
    pub(super) bg: Color,
    pub(super) flags: Flags,
    pub(super) underline: Option<Color>,
    pub(super) link: Option<Hyperlink>,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            fg: FOREGROUND,
            bg: BACKGROUND,
            flags: Flags::empty(),
            underline: None,
            link: None,
        }
    }
}

impl Style {
    pub(super) fn of(cell: &Cell) -> Self {
        Self {
            fg: cell.fg,
            bg: cell.bg,
            flags: cell.flags - LAYOUT - HALVES,
            underline: cell.underline_color(),
            link: cell.hyperlink(),
        }
    }

    /// Whether a blank in it looks as one in the default pen.
    pub(super) fn leaves_blank(&self) -> bool {
        self.bg == BACKGROUND && !self.flags.intersects(SEEN_ON_BLANK) && self.link.is_none()
    }

    /// Whether a cell has this look, without making a `Style` of it.
    pub(super) fn fits(&self, cell: &Cell) -> bool {
        self.fg == cell.fg
            && self.bg == cell.bg
            && self.flags == cell.flags - LAYOUT - HALVES
            && match &cell.extra {
                None => self.underline.is_none() && self.link.is_none(),
                Some(_) => {
                    self.underline == cell.underline_color() && self.link == cell.hyperlink()
                }
            }
    }
}

/// One row as it is seen: no half characters, no invisible differences.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) cells: Box<[Cell]>,
    /// The line goes on in the next row.
    pub(super) wrapped: bool,
    /// The last cell was left free because a wide character did not fit.
    pub(super) filler: bool,
    /// Behind the last cell that is not a default blank.
    pub(super) len: usize,
    hash: u64,
}

impl Row {
    pub(super) fn blank(cols: usize) -> Arc<Self> {
        Arc::new(Self::of(&vec![Cell::default(); cols]))
    }

    pub(super) fn of(raw: &[Cell]) -> Self {
        let mut cells: Vec<Cell> = Vec::with_capacity(raw.len());
        let mut col = 0;
        while col < raw.len() {
            let cell = &raw[col];
            let pair = cell.flags.contains(Flags::WIDE_CHAR)
                && raw
                    .get(col + 1)
                    .is_some_and(|next| next.flags.contains(Flags::WIDE_CHAR_SPACER));
            if pair {
                let whole = seen_as(cell);
                let half = Cell {
                    c: ' ',
                    flags: (whole.flags - Flags::WIDE_CHAR) | Flags::WIDE_CHAR_SPACER,
                    extra: None,
                    ..whole.clone()
                };
                cells.push(whole);
                cells.push(half);
                col += 2;
            } else {
                // Half of a wide character whose other half was overwritten is seen as a blank.
                cells.push(if cell.flags.intersects(HALVES) {
                    seen_as(&Cell {
                        bg: cell.bg,
                        ..Cell::default()
                    })
                } else {
                    seen_as(cell)
                });
                col += 1;
            }
        }
        let last = raw.last().map_or(Flags::empty(), |cell| cell.flags);
        let wrapped = last.contains(Flags::WRAPLINE);
        let len = cells
            .iter()
            .rposition(|cell| !is_default_blank(cell))
            .map_or(0, |last| last + 1);
        Self {
            hash: hash(&cells[..len], wrapped),
            cells: cells.into(),
            wrapped,
            filler: wrapped && last.contains(Flags::LEADING_WIDE_CHAR_SPACER),
            len,
        }
    }

    /// Cells and wrapping are the same; cheap where rows are shared or differ.
    pub(super) fn same(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other) || (self.hash == other.hash && **self == **other)
    }

    /// The same row, not going on in the next.
    pub(super) fn cut_off(&self) -> Self {
        Self {
            cells: self.cells.clone(),
            wrapped: false,
            filler: false,
            len: self.len,
            hash: hash(&self.cells[..self.len], false),
        }
    }

    pub(super) fn width(&self, col: usize) -> usize {
        let flags = self.cells[col].flags;
        if flags.contains(Flags::WIDE_CHAR) {
            2
        } else {
            usize::from(!flags.contains(Flags::WIDE_CHAR_SPACER))
        }
    }

    fn shows(&self, raw: &[Cell]) -> bool {
        let last = raw.last().map_or(Flags::empty(), |cell| cell.flags);
        self.cells.len() == raw.len()
            && self.wrapped == last.contains(Flags::WRAPLINE)
            && self.filler == (self.wrapped && last.contains(Flags::LEADING_WIDE_CHAR_SPACER))
            && self.cells.iter().zip(raw).all(|(seen, cell)| {
                // Wide pairs are left to the slow way, which also checks for lost halves.
                !cell.flags.intersects(HALVES)
                    && ((seen.c == cell.c
                        && seen.fg == cell.fg
                        && seen.bg == cell.bg
                        && seen.flags == cell.flags - LAYOUT
                        && seen.extra == cell.extra)
                        || (is_blank(cell) && *seen == seen_as(cell)))
            })
    }
}

fn is_blank(cell: &Cell) -> bool {
    (cell.c == ' ' || cell.c == '\t') && cell.zerowidth().is_none_or(<[char]>::is_empty)
}

/// A cell that an erase with the default pen would leave.
pub(super) fn is_default_blank(cell: &Cell) -> bool {
    cell.c == ' '
        && cell.bg == BACKGROUND
        && cell.flags.is_empty()
        && cell.fg == FOREGROUND
        && cell.extra.is_none()
}

pub(super) fn seen_as(cell: &Cell) -> Cell {
    let mut seen = cell.clone();
    seen.flags -= LAYOUT;
    if seen.c == '\t' {
        seen.c = ' ';
    }
    if is_blank(&seen) && !seen.flags.intersects(SEEN_ON_BLANK | HALVES) {
        seen.fg = FOREGROUND;
        seen.flags = Flags::empty();
    }
    if !seen.flags.intersects(Flags::ALL_UNDERLINES) && seen.underline_color().is_some() {
        seen.set_underline_color(None);
    }
    if seen.extra.is_some()
        && seen.zerowidth().is_none_or(<[char]>::is_empty)
        && seen.underline_color().is_none()
        && seen.hyperlink().is_none()
    {
        seen.extra = None;
    }
    seen
}

fn hash(cells: &[Cell], wrapped: bool) -> u64 {
    let colour = |colour: Color| match colour {
        Color::Named(name) => name as u64,
        Color::Indexed(index) => 0x1000 + u64::from(index),
        Color::Spec(rgb) => {
            0x100_0000 | u64::from(rgb.r) << 16 | u64::from(rgb.g) << 8 | u64::from(rgb.b)
        }
    };
    cells.iter().fold(u64::from(wrapped), |sum, cell| {
        let look = colour(cell.fg) ^ colour(cell.bg).rotate_left(25);
        let value =
            look.rotate_left(5) ^ u64::from(cell.flags.bits()) << 48 ^ u64::from(u32::from(cell.c));
        (sum.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// Cursor, pen and character sets: what DECSC keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) row: usize,
    pub(super) col: usize,
    pub(super) pending_wrap: bool,
    pub(super) pen: Style,
    pub(super) charsets: [StandardCharset; 4],
    pub(super) charset: CharsetIndex,
    pub(super) origin: bool,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            row: 0,
            col: 0,
            pending_wrap: false,
            pen: Style::default(),
            charsets: [StandardCharset::Ascii; 4],
            charset: CharsetIndex::G0,
            origin: false,
        }
    }
}

pub(super) const CHARSETS: [CharsetIndex; 4] = [
    CharsetIndex::G0,
    CharsetIndex::G1,
    CharsetIndex::G2,
    CharsetIndex::G3,
];

impl Cursor {
    pub(super) fn of(cursor: &GridCursor<Cell>, beside: Beside) -> Self {
        Self {
            row: usize::try_from(cursor.point.line.0).unwrap_or(0),
            col: cursor.point.column.0,
            pending_wrap: cursor.input_needs_wrap,
            pen: Style::of(&cursor.template),
            charsets: CHARSETS.map(|index| cursor.charsets[index]),
            charset: beside.charset,
            origin: beside.origin,
        }
    }

    /// As a move to its place leaves it.
    fn moved(&self) -> Self {
        Self {
            pending_wrap: false,
            ..self.clone()
        }
    }
}

/// The main screen while the alternate one is shown.
#[derive(Debug)]
pub(super) struct Main {
    pub(super) lines: Vec<Arc<Row>>,
    pub(super) cursor: Cursor,
}

impl Main {
    pub(super) fn same(&self, other: &Self) -> bool {
        self.cursor == other.cursor
            && self.lines.len() == other.lines.len()
            && self.lines.iter().zip(&other.lines).all(|(a, b)| a.same(b))
    }
}

/// An immutable picture of a screen; rows are shared with others.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(super) offset: u64,
    pub(super) history_end: u64,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) lines: Vec<Arc<Row>>,
    pub(super) main: Option<Arc<Main>>,
    pub(super) cursor: Cursor,
    pub(super) saved: Cursor,
    pub(super) modes: Modes,
}

impl Snapshot {
    pub(super) fn alternate(&self) -> bool {
        self.main.is_some()
    }

    /// Every row by itself, and no cursor that waits at the right margin.
    pub(super) fn unwrapped(&self) -> Self {
        let main = self.main.as_ref().map(|main| {
            Arc::new(Main {
                lines: cut_off(&main.lines),
                cursor: main.cursor.moved(),
            })
        });
        Self {
            lines: cut_off(&self.lines),
            main,
            cursor: self.cursor.moved(),
            saved: self.saved.moved(),
            modes: self.modes.clone(),
            ..*self
        }
    }
}

fn cut_off(lines: &[Arc<Row>]) -> Vec<Arc<Row>> {
    lines
        .iter()
        .map(|line| {
            if line.wrapped {
                Arc::new(line.cut_off())
            } else {
                Arc::clone(line)
            }
        })
        .collect()
}

/// The rows last taken, to share those that have not changed.
#[derive(Debug, Default)]
pub(super) struct RowCache {
    lines: Vec<Arc<Row>>,
}

impl RowCache {
    pub(super) fn take(&mut self, term: &Term<VoidListener>) -> Vec<Arc<Row>> {
        let grid = term.grid();
        let lines: Vec<Arc<Row>> = (0..grid.screen_lines())
            .map(|row| {
                let raw = &grid[Line(row as i32)][..];
                if let Some(known) = self.lines.get(row)
                    && known.shows(raw)
                {
                    return Arc::clone(known);
                }
                let fresh = Arc::new(Row::of(raw));
                match self.lines.iter().find(|known| known.same(&fresh)) {
                    Some(known) => Arc::clone(known),
                    None => fresh,
                }
            })
            .collect();
        self.lines.clone_from(&lines);
        lines
    }

    /// One row of the screen; it is kept where the last picture has that row.
    pub(super) fn row(&mut self, term: &Term<VoidListener>, row: usize) -> Arc<Row> {
        let raw = &term.grid()[Line(row as i32)][..];
        match self.lines.get_mut(row) {
            Some(known) if known.shows(raw) => Arc::clone(known),
            Some(known) => {
                *known = Arc::new(Row::of(raw));
                Arc::clone(known)
            }
            None => Arc::new(Row::of(raw)),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.lines
            .iter()
            .map(|row| row.cells.len() * size_of::<Cell>() + 64)
            .sum()
    }
}
