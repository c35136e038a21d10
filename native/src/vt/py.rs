//! `Screen` and `Snapshot`: the terminal model as Python sees it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::vte::ansi::{Color, NamedColor, Rgb};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::line_text;
use super::model::Model;
use super::overlay::{Drawn, Look};
use super::painter;
use super::pen::{self, Paint};
use super::snapshot::{self as picture, BACKGROUND, BLINK, FOREGROUND, Row, Style};

const MODE_ALTERNATE: u32 = 1;
const MODE_BRACKETED_PASTE: u32 = 1 << 1;
const MODE_INSERT: u32 = 1 << 2;
const MODE_ORIGIN: u32 = 1 << 3;
const MODE_NO_WRAP: u32 = 1 << 4;
const MODE_MARGINS: u32 = 1 << 5;
const MODE_APP_CURSOR: u32 = 1 << 6;
const MODE_MOUSE: u32 = 1 << 7;
const MODE_SYNC: u32 = 1 << 8;
const MODE_STRING: u32 = 1 << 9;

/// History lines that one repaint prints at most, in bytes.
const PAINT_HISTORY_BYTES: usize = 64 << 20;

/// The classes and constants of this module.
pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Screen>()?;
    m.add_class::<Snapshot>()?;
    for (name, value) in [
        ("MODE_ALTERNATE", MODE_ALTERNATE),
        ("MODE_BRACKETED_PASTE", MODE_BRACKETED_PASTE),
        ("MODE_INSERT", MODE_INSERT),
        ("MODE_ORIGIN", MODE_ORIGIN),
        ("MODE_NO_WRAP", MODE_NO_WRAP),
        ("MODE_MARGINS", MODE_MARGINS),
        ("MODE_APP_CURSOR", MODE_APP_CURSOR),
        ("MODE_MOUSE", MODE_MOUSE),
        ("MODE_SYNC", MODE_SYNC),
        ("MODE_STRING", MODE_STRING),
    ] {
        m.add(name, value)?;
    }
    Ok(())
}

/// An immutable picture of a screen.
#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct Snapshot {
    inner: picture::Snapshot,
}

#[pymethods]
impl Snapshot {
    #[getter]
    fn offset(&self) -> u64 {
        self.inner.offset
    }

    #[getter]
    fn history_end(&self) -> u64 {
        self.inner.history_end
    }

    #[getter]
    fn rows(&self) -> usize {
        self.inner.rows
    }

    #[getter]
    fn cols(&self) -> usize {
        self.inner.cols
    }

    #[getter]
    fn alternate(&self) -> bool {
        self.inner.alternate()
    }
}

/// A terminal without a window.
#[pyclass(frozen, module = "qsh._native")]
pub(crate) struct Screen {
    model: Mutex<Model>,
}

impl Screen {
    /// A panic is caught inside the model, which stays usable.
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type CellView = (String, usize, u64);

#[pymethods]
impl Screen {
    #[new]
    #[pyo3(signature = (rows, cols, *, history_lines=0))]
    fn new(rows: i64, cols: i64, history_lines: usize) -> Self {
        Self {
            model: Mutex::new(Model::new(size(rows), size(cols), history_lines)),
        }
    }

    #[getter]
    fn rows(&self) -> usize {
        self.model().rows()
    }

    #[getter]
    fn cols(&self) -> usize {
        self.model().cols()
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.model().offset()
    }

    #[getter]
    fn boundary(&self) -> u64 {
        self.model().boundary()
    }

    fn skip_to(&self, offset: u64) {
        self.model().skip_to(offset);
    }

    #[getter]
    fn modes(&self) -> u32 {
        let model = self.model();
        let modes = &model.tracked().modes;
        [
            (MODE_ALTERNATE, model.alternate()),
            (MODE_BRACKETED_PASTE, modes.paste),
            (MODE_INSERT, modes.insert),
            (MODE_ORIGIN, modes.origin),
            (MODE_NO_WRAP, !modes.wrap),
            (MODE_MARGINS, modes.margins != (0, model.rows())),
            (MODE_APP_CURSOR, modes.app_cursor),
            (MODE_MOUSE, modes.mouse != 0),
            (MODE_SYNC, model.sync_open()),
            (MODE_STRING, model.in_string()),
        ]
        .iter()
        .filter(|(_, on)| *on)
        .fold(0, |bits, (bit, _)| bits | bit)
    }

    #[getter]
    fn title(&self) -> String {
        self.model().tracked().modes.title.clone()
    }

    fn feed<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
    ) -> Vec<(&'static str, u64, Bound<'py, PyBytes>)> {
        py.detach(|| self.model().feed(data))
            .into_iter()
            .map(|event| (event.kind, event.offset, PyBytes::new(py, &event.data)))
            .collect()
    }

    fn resize(&self, py: Python<'_>, rows: i64, cols: i64) {
        py.detach(|| self.model().resize(size(rows), size(cols)));
    }

    #[getter]
    fn cursor(&self) -> (usize, usize, bool, bool) {
        let model = self.model();
        let cursor = model.cursor();
        let visible = model.tracked().modes.visible;
        (cursor.row, cursor.col, cursor.pending_wrap, visible)
    }

    fn cell(&self, row: usize, col: usize) -> CellView {
        self.model()
            .row(row)
            .filter(|line| col < line.cells.len())
            .map_or_else(|| (String::new(), 0, 0), |line| view(&line, col))
    }

    #[pyo3(signature = (row, first = 0, end = usize::MAX))]
    fn row_cells(&self, row: usize, first: usize, end: usize) -> Vec<CellView> {
        self.model().row(row).map_or_else(Vec::new, |line| {
            (first..end.min(line.cells.len()))
                .map(|col| view(&line, col))
                .collect()
        })
    }

    fn row_end(&self, row: usize) -> usize {
        self.model().row(row).map_or(0, |line| line.len)
    }

    fn row_text(&self, row: usize) -> String {
        let text: String = self
            .row_cells(row, 0, usize::MAX)
            .into_iter()
            .map(|(text, ..)| text)
            .collect();
        text.trim_end_matches(' ').to_owned()
    }

    fn row_wrapped(&self, row: isize) -> bool {
        let mut model = self.model();
        match usize::try_from(row) {
            Ok(row) => model.row(row).is_some_and(|line| line.wrapped),
            Err(_) => model.history_goes_on(),
        }
    }

    fn style_is_dim(&self, style: i128) -> bool {
        let style = unpacked(style);
        style.flags.contains(Flags::DIM)
            || match style.fg {
                Color::Named(name) => name == NamedColor::BrightBlack,
                Color::Indexed(index) => index == 8 || (232..=250).contains(&index),
                Color::Spec(Rgb { r, g, b }) => {
                    let (low, high) = (r.min(g).min(b), r.max(g).max(b));
                    high - low <= 16 && (0x30..=0xb8).contains(&high)
                }
            }
    }

    fn snapshot(&self, py: Python<'_>) -> Snapshot {
        Snapshot {
            inner: py.detach(|| self.model().snapshot()),
        }
    }

    #[pyo3(signature = (history_from=None, marker="", *, window=None))]
    fn paint<'py>(
        &self,
        py: Python<'py>,
        history_from: Option<u64>,
        marker: &str,
        window: Option<(usize, usize)>,
    ) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| {
            let mut model = self.model();
            let past = history_from.map_or_else(Vec::new, |first| {
                model.history(first, model.history_end(), PAINT_HISTORY_BYTES)
            });
            let marker = if history_from.is_some() { marker } else { "" };
            painter::full(&model.snapshot(), window.unwrap_or_default(), &past, marker)
        });
        PyBytes::new(py, &bytes)
    }

    #[pyo3(signature = (base, *, window=None))]
    fn paint_from<'py>(
        &self,
        py: Python<'py>,
        base: &Snapshot,
        window: Option<(usize, usize)>,
    ) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| {
            painter::diff(
                &base.inner,
                &self.model().snapshot(),
                window.unwrap_or_default(),
            )
        });
        PyBytes::new(py, &bytes)
    }

    #[pyo3(signature = (cells, cursor))]
    fn draw<'py>(
        &self,
        py: Python<'py>,
        cells: Vec<(usize, usize, String, i128, bool)>,
        cursor: Option<(usize, usize)>,
    ) -> Bound<'py, PyBytes> {
        let cells: Vec<Drawn> = cells
            .into_iter()
            .map(|(row, col, text, style, underline)| Drawn {
                row,
                col,
                text,
                look: if style < 0 {
                    Look::Beside
                } else {
                    Look::Of(unpacked(style))
                },
                underline,
            })
            .collect();
        let bytes = py.detach(|| self.model().draw(&cells, cursor));
        PyBytes::new(py, &bytes)
    }

    fn undraw<'py>(&self, py: Python<'py>, cells: Vec<(usize, usize)>) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| self.model().undraw(&cells));
        PyBytes::new(py, &bytes)
    }

    #[getter]
    fn history_first(&self) -> u64 {
        self.model().history_first()
    }

    #[getter]
    fn history_end(&self) -> u64 {
        self.model().history_end()
    }

    #[pyo3(signature = (first, end, *, plain=false, max_bytes=1 << 20))]
    fn history<'py>(
        &self,
        py: Python<'py>,
        first: u64,
        end: u64,
        plain: bool,
        max_bytes: usize,
    ) -> Vec<(Bound<'py, PyBytes>, bool)> {
        py.detach(|| self.model().history(first, end, max_bytes))
            .into_iter()
            .map(|line| {
                let text = if plain {
                    line_text::plain_text(&line.text).into_bytes()
                } else {
                    line.text
                };
                (PyBytes::new(py, &text), line.wrapped)
            })
            .collect()
    }

    #[getter]
    fn memory_bytes(&self) -> usize {
        self.model().memory_bytes()
    }
}

/// Sizes below zero are clamped with the rest.
fn size(value: i64) -> usize {
    usize::try_from(value.max(0)).unwrap_or(usize::MAX)
}

fn view(line: &Row, col: usize) -> CellView {
    let cell = &line.cells[col];
    let width = line.width(col);
    let mut text = String::new();
    if width > 0 {
        text.push(cell.c);
        text.extend(cell.zerowidth().into_iter().flatten());
    }
    (text, width, packed(cell))
}

const COLOUR_BITS: u32 = 25;
const COLOUR_MASK: u64 = (1 << COLOUR_BITS) - 1;
const RGB: u64 = 1 << 24;
const INDEXED: u64 = 0x100;
const LOOKS: [Flags; 6] = [
    Flags::BOLD,
    Flags::DIM,
    Flags::ITALIC,
    Flags::INVERSE,
    Flags::HIDDEN,
    Flags::STRIKEOUT,
];
const UNDERLINES: [Flags; 6] = [
    Flags::empty(),
    Flags::UNDERLINE,
    Flags::DOUBLE_UNDERLINE,
    Flags::UNDERCURL,
    Flags::DOTTED_UNDERLINE,
    Flags::DASHED_UNDERLINE,
];

/// A look as a number: foreground, background, attributes; the default pen is 0.
fn packed(cell: &Cell) -> u64 {
    let part = |colour: Color| match pen::colour(colour) {
        None => 0,
        Some(Paint::Basic(index)) => 1 + u64::from(index),
        Some(Paint::Index(index)) => INDEXED + u64::from(index),
        Some(Paint::Rgb(r, g, b)) => RGB | u64::from(r) << 16 | u64::from(g) << 8 | u64::from(b),
    };
    let flags = LOOKS
        .iter()
        .enumerate()
        .filter(|(_, flag)| cell.flags.contains(**flag))
        .fold(0, |bits, (bit, _)| bits | 1u64 << bit);
    let lines = u64::from(pen::underline_number(cell.flags));
    let blink = u64::from(cell.flags.contains(BLINK));
    let attributes = flags | lines << 6 | blink << 9;
    part(cell.fg) | part(cell.bg) << COLOUR_BITS | attributes << (2 * COLOUR_BITS)
}

fn unpacked(style: i128) -> Style {
    let Ok(style) = u64::try_from(style) else {
        return Style::default();
    };
    let colour = |part: u64, default: Color| match part {
        RGB.. => {
            let [.., r, g, b] = part.to_be_bytes();
            Color::Spec(Rgb { r, g, b })
        }
        INDEXED.. => Color::Indexed(part as u8),
        0 => default,
        _ => named(part as usize - 1),
    };
    let attributes = style >> (2 * COLOUR_BITS);
    let flags = LOOKS
        .iter()
        .enumerate()
        .filter(|(bit, _)| attributes & 1 << bit != 0)
        .fold(Flags::empty(), |flags, (_, flag)| flags | *flag);
    let lines = UNDERLINES.get((attributes >> 6 & 7) as usize);
    let blink = if attributes >> 9 & 1 == 1 {
        BLINK
    } else {
        Flags::empty()
    };
    Style {
        fg: colour(style & COLOUR_MASK, FOREGROUND),
        bg: colour(style >> COLOUR_BITS & COLOUR_MASK, BACKGROUND),
        flags: flags | blink | lines.copied().unwrap_or(Flags::empty()),
        underline: None,
        link: None,
    }
}

fn named(index: usize) -> Color {
    use NamedColor::{
        Black, Blue, BrightBlack, BrightBlue, BrightCyan, BrightGreen, BrightMagenta, BrightRed,
        BrightWhite, BrightYellow, Cyan, Green, Magenta, Red, White, Yellow,
    };
    const NAMES: [NamedColor; 16] = [
        Black,
        Red,
        Green,
        Yellow,
        Blue,
        Magenta,
        Cyan,
        White,
        BrightBlack,
        BrightRed,
        BrightGreen,
        BrightYellow,
        BrightBlue,
        BrightMagenta,
        BrightCyan,
        BrightWhite,
    ];
    NAMES
        .get(index)
        .map_or(FOREGROUND, |name| Color::Named(*name))
}
