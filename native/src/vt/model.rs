//! A screen with its limits: sizes are clamped, steps are small, and a panic costs a rebuild.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use alacritty_terminal::Term;
use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::Dimensions;
use alacritty_terminal::index::Line;
use alacritty_terminal::term::cell::Cell;
use alacritty_terminal::term::{Config, Osc52, TermMode};
use alacritty_terminal::vte::ansi::{Handler, Processor, Timeout};

use super::history::Line as HistoryLine;
use super::overlay::{self, Drawn};
use super::plain;
use super::reply;
use super::scanner::{Item, Kind, Scanner};
use super::snapshot::{Cursor, Main, Row, RowCache, Snapshot};
use super::state::{Tracked, every_eighth};
use super::tee::{Past, Tee};

const COLS: std::ops::RangeInclusive<usize> = 2..=1000;
const ROWS: std::ops::RangeInclusive<usize> = 1..=500;
/// Largest piece that one guarded step applies.
const STEP_BYTES: usize = 4096;
/// A snapshot to rebuild from is taken about this often.
const GUARD_BYTES: usize = 32 * 1024;
const EVENTS_PER_FEED: usize = 256;

/// One thing that happened at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) kind: &'static str,
    pub(crate) offset: u64,
    pub(crate) data: Vec<u8>,
}

/// The parser must not hold back a synchronised update: the scanner tells about those.
#[derive(Default)]
struct Unsynchronised {
    armed: std::cell::Cell<bool>,
}

impl Timeout for Unsynchronised {
    fn set_timeout(&mut self, _: Duration) {}
    fn clear_timeout(&mut self) {
        self.armed.set(false);
    }
    fn pending_timeout(&self) -> bool {
        self.armed.get()
    }
}

type Parser = Processor<Unsynchronised>;

#[derive(Clone, Copy)]
struct Size {
    rows: usize,
    cols: usize,
}

impl Size {
    fn clamped(rows: usize, cols: usize) -> Self {
        // 500 x 500 cells are the most, so a wide screen has fewer rows.
        let cols = cols.clamp(*COLS.start(), *COLS.end());
        let rows = rows.clamp(*ROWS.start(), *ROWS.end()).min(CELLS_MAX / cols);
        Self { rows, cols }
    }
}

const CELLS_MAX: usize = 250_000;

impl Dimensions for Size {
    fn total_lines(&self) -> usize {
        self.rows
    }
    fn screen_lines(&self) -> usize {
        self.rows
    }
    fn columns(&self) -> usize {
        self.cols
    }
}

/// The grid and what is kept beside it; replaced as a whole after a panic.
struct Core {
    term: Term<VoidListener>,
    parser: Parser,
    tracked: Tracked,
    past: Past,
    rows: RowCache,
    main: Option<Arc<Main>>,
    since_guard: usize,
}

fn config(history: usize) -> Config {
    Config {
        scrolling_history: history,
        kitty_keyboard: false,
        osc52: Osc52::Disabled,
        ..Config::default()
    }
}

impl Core {
    fn new(size: Size, past: Past) -> Self {
        Self {
            term: Term::new(config(0), &size, VoidListener),
            parser: Parser::new(),
            tracked: Tracked::new(size.rows, size.cols),
            past,
            rows: RowCache::default(),
            main: None,
            since_guard: 0,
        }
    }

    fn parse(&mut self, bytes: &[u8]) {
        let mut tee = Tee {
            term: &mut self.term,
            tracked: &mut self.tracked,
            past: &mut self.past,
            rows: &mut self.rows,
            main: &mut self.main,
        };
        self.parser.advance(&mut tee, bytes);
    }

    fn soft_reset(&mut self) {
        Tee {
            term: &mut self.term,
            tracked: &mut self.tracked,
            past: &mut self.past,
            rows: &mut self.rows,
            main: &mut self.main,
        }
        .soft_reset();
    }

    fn snapshot(&mut self, offset: u64) -> Snapshot {
        let grid = self.term.grid();
        let alternate = self.term.mode().contains(TermMode::ALT_SCREEN);
        let mut modes = self.tracked.modes.clone();
        modes.palette = (0..=258)
            .filter_map(|index| self.term.colors()[index].map(|colour| (index as u16, colour)))
            .collect();
        Snapshot {
            offset,
            history_end: self.past.end(),
            rows: grid.screen_lines(),
            cols: grid.columns(),
            cursor: Cursor::of(&grid.cursor, self.tracked.beside()),
            saved: Cursor::of(
                &grid.saved_cursor,
                self.tracked.saved[usize::from(alternate)],
            ),
            main: self.main.clone(),
            modes,
            lines: self.rows.take(&self.term),
        }
    }

    /// Lines that reflow pushed out of the main screen, which is the grid shown now.
    fn drain(&mut self) {
        let grid = self.term.grid_mut();
        for line in (1..=grid.history_size()).rev() {
            self.past.push_row(&grid[Line(-(line as i32))][..]);
        }
        grid.clear_history();
        grid.update_history(0);
        grid.truncate();
        let last = grid.columns() - 1;
        for cursor in [&mut grid.cursor, &mut grid.saved_cursor] {
            cursor.input_needs_wrap &= cursor.point.column.0 == last;
        }
    }

    fn resize(&mut self, size: Size) {
        let grid = self.term.grid();
        let rows = grid.screen_lines();
        let spill = rows * (grid.columns() / size.cols + 2);
        // The grid of the main screen gets room for what a reflow pushes out, whichever is shown.
        self.term.set_options(config(spill));
        self.term.resize(size);
        if self.term.mode().contains(TermMode::ALT_SCREEN) {
            let mut alternate = self.term.grid().clone();
            self.term.swap_alt();
            self.drain();
            let lines = RowCache::default().take(&self.term);
            let saved = self.tracked.saved[0];
            self.main = Some(Arc::new(Main {
                lines,
                cursor: Cursor::of(&self.term.grid().cursor, saved),
            }));
            self.term.swap_alt();
            alternate.truncate();
            let last = size.cols - 1;
            for cursor in [&mut alternate.cursor, &mut alternate.saved_cursor] {
                cursor.input_needs_wrap &= cursor.point.column.0 == last;
            }
            *self.term.grid_mut() = alternate;
        } else {
            self.drain();
        }
        self.term.set_options(config(0));
        let modes = &mut self.tracked.modes;
        modes.margins = (0, size.rows);
        let old = modes.tabs.len();
        modes.tabs.truncate(size.cols);
        modes
            .tabs
            .extend(every_eighth(size.cols).into_iter().skip(old));
    }
}

/// A terminal without a window.
pub(crate) struct Model {
    core: Core,
    scanner: Scanner,
    guard: Option<Snapshot>,
    /// Where the last overlay left the cursor.
    overlay_cursor: overlay::Left,
    #[cfg(test)]
    passed_by: usize,
}

impl Model {
    pub(crate) fn new(rows: usize, cols: usize, history_lines: usize) -> Self {
        let mut core = Core::new(Size::clamped(rows, cols), Past::new(history_lines));
        shed_sync_buffer(&mut core.parser);
        let mut scanner = Scanner::new();
        scanner.set_size(core.term.screen_lines(), core.term.columns());
        Self {
            core,
            scanner,
            guard: None,
            overlay_cursor: None,
            #[cfg(test)]
            passed_by: 0,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.core.term.screen_lines()
    }

    pub(crate) fn cols(&self) -> usize {
        self.core.term.columns()
    }

    pub(crate) fn offset(&self) -> u64 {
        self.scanner.offset()
    }

    pub(crate) fn boundary(&self) -> u64 {
        self.scanner.boundary()
    }

    pub(crate) fn skip_to(&mut self, offset: u64) {
        if self.scanner.boundary() != self.scanner.offset() {
            self.core.parser = Parser::new();
            shed_sync_buffer(&mut self.core.parser);
        }
        self.scanner.skip_to(offset);
    }

    pub(crate) fn tracked(&self) -> &Tracked {
        &self.core.tracked
    }

    pub(crate) fn in_string(&self) -> bool {
        self.scanner.in_string()
    }

    pub(crate) fn sync_open(&self) -> bool {
        self.scanner.sync_open()
    }

    pub(crate) fn alternate(&self) -> bool {
        self.core.term.mode().contains(TermMode::ALT_SCREEN)
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor::of(&self.core.term.grid().cursor, self.core.tracked.beside())
    }

    pub(crate) fn row(&mut self, row: usize) -> Option<Arc<Row>> {
        let Core { term, rows, .. } = &mut self.core;
        (row < term.screen_lines()).then(|| rows.row(term, row))
    }

    pub(crate) fn snapshot(&mut self) -> Snapshot {
        let offset = self.offset();
        self.core.snapshot(offset)
    }

    pub(super) fn draw(&mut self, cells: &[Drawn], cursor: overlay::Left) -> Vec<u8> {
        let screen = self.snapshot();
        let cursor = cursor.map(|(row, col)| (row.min(screen.rows - 1), col.min(screen.cols - 1)));
        let left = std::mem::replace(&mut self.overlay_cursor, cursor);
        overlay::draw(&screen, left, cells, cursor)
    }

    pub(super) fn undraw(&mut self, cells: &[(usize, usize)]) -> Vec<u8> {
        let left = self.overlay_cursor.take();
        overlay::undraw(&self.snapshot(), left, cells)
    }

    pub(crate) fn feed(&mut self, data: &[u8]) -> Vec<Happening> {
        let mut events = Vec::new();
        let mut rest = data;
        while rest.len() >= plain::MIN_BYTES {
            let size = match self.pass_by(rest, &mut events) {
                Some(size) => size,
                None => {
                    let size = plain::piece(rest);
                    self.parse(&rest[..size], &mut events);
                    size
                }
            };
            rest = &rest[size..];
        }
        self.parse(rest, &mut events);
        events
    }

    /// Take plain lines from the front of `data`, of which only the last ones meet the grid; their size.
    fn pass_by(&mut self, data: &[u8], events: &mut Vec<Happening>) -> Option<usize> {
        let at_ground = self.scanner.boundary() == self.scanner.offset();
        if !at_ground || !plain::only_scrolls(&self.core.term, &self.core.tracked) {
            return None;
        }
        let run = &data[..plain::lines(data)];
        let (rows, cols) = (self.rows(), self.cols());
        let last = plain::last_lines(run, rows).filter(|last| *last >= plain::PIECE_BYTES)?;
        let (passing, seen) = run.split_at(last);
        let Core { term, past, .. } = &mut self.core;
        past.pass_by(term.grid(), rows - 1, plain::rows(passing, cols));
        self.scanner.pass(passing.len());
        self.parse(seen, events);
        self.core.past.caught_up();
        #[cfg(test)]
        {
            self.passed_by += passing.len();
        }
        Some(run.len())
    }

    #[cfg(test)]
    pub(super) fn passed_by(&self) -> usize {
        self.passed_by
    }

    fn parse(&mut self, data: &[u8], events: &mut Vec<Happening>) {
        let Self {
            core,
            scanner,
            guard,
            ..
        } = self;
        scanner.scan(data, &mut |offset, item| match item {
            Item::Text(bytes) => apply(core, guard, offset, bytes, events),
            Item::Owned(bytes) => apply(core, guard, offset, &bytes, events),
            Item::Query(query) => {
                if events.len() < EVENTS_PER_FEED {
                    let data = reply::to(&query, &core.snapshot_for_reply());
                    events.push(Happening {
                        kind: "query",
                        offset,
                        data,
                    });
                }
            }
            Item::Event(kind, data) => {
                let kind = match kind {
                    Kind::Clipboard => "clipboard",
                    Kind::Notify => "notify",
                    Kind::Bell => "bell",
                    Kind::Graphics => "graphics",
                    Kind::ClearHistory => {
                        core.past.clear();
                        "clear-history"
                    }
                    Kind::SoftReset => return core.soft_reset(),
                    Kind::SyncOpened | Kind::SyncClosed => return,
                };
                if events.len() < EVENTS_PER_FEED {
                    events.push(Happening { kind, offset, data });
                }
            }
        });
    }

    pub(crate) fn resize(&mut self, rows: usize, cols: usize) {
        let size = Size::clamped(rows, cols);
        if (size.rows, size.cols) == (self.rows(), self.cols()) {
            return;
        }
        self.guard = None;
        self.scanner.set_size(size.rows, size.cols);
        let done = catch_unwind(AssertUnwindSafe(|| {
            // A row that is cut into many keeps, for each piece, the room of all the rest: in steps that is little.
            while self.core.term.columns() / 4 > size.cols {
                let (rows, cols) = (self.rows(), self.cols());
                self.core.resize(Size::clamped(rows, cols / 4));
            }
            self.core.resize(size);
        }));
        if done.is_err() {
            let past = std::mem::replace(&mut self.core.past, Past::new(0));
            self.core = Core::new(size, past);
            shed_sync_buffer(&mut self.core.parser);
        }
    }

    /// The last line of the history goes on in the first row.
    pub(crate) fn history_goes_on(&self) -> bool {
        !self.alternate() && self.core.past.goes_on()
    }

    pub(crate) fn history_first(&self) -> u64 {
        self.core.past.first()
    }

    pub(crate) fn history_end(&self) -> u64 {
        self.core.past.end()
    }

    pub(crate) fn history(&self, first: u64, end: u64, max_bytes: usize) -> Vec<HistoryLine> {
        self.core.past.lines(first, end, max_bytes)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let cells = self.rows() * self.cols() * size_of::<Cell>();
        // Both grids, the rows last taken, and what the main screen showed.
        let main = self.core.main.as_ref().map_or(0, |_| cells);
        4096 + 2 * cells + main + self.core.rows.memory_bytes() + self.core.past.memory_bytes()
    }

    #[cfg(test)]
    pub(super) fn term(&mut self) -> &mut Term<VoidListener> {
        &mut self.core.term
    }
}

impl Core {
    fn snapshot_for_reply(&self) -> reply::Facts<'_> {
        reply::Facts {
            modes: &self.tracked.modes,
            alternate: self.term.mode().contains(TermMode::ALT_SCREEN),
            cursor: Cursor::of(&self.term.grid().cursor, self.tracked.beside()),
            rows: self.term.screen_lines(),
            cols: self.term.columns(),
            colours: self.term.colors(),
        }
    }
}

/// Parse text in guarded steps.
fn apply(
    core: &mut Core,
    guard: &mut Option<Snapshot>,
    offset: u64,
    bytes: &[u8],
    events: &mut Vec<Happening>,
) {
    for step in bytes.chunks(STEP_BYTES) {
        if guard.is_none() || core.since_guard >= GUARD_BYTES {
            core.since_guard = 0;
            *guard = Some(core.snapshot(offset));
        }
        core.since_guard += step.len();
        let done = catch_unwind(AssertUnwindSafe(|| core.parse(step)));
        if done.is_err() {
            rebuild(core, guard.as_ref());
            events.push(Happening {
                kind: "rebuilt",
                offset,
                data: b"the terminal model failed and was rebuilt".to_vec(),
            });
        }
    }
}

fn rebuild(core: &mut Core, guard: Option<&Snapshot>) {
    let past = std::mem::replace(&mut core.past, Past::new(0));
    let size = guard.map_or(
        Size::clamped(core.term.screen_lines(), core.term.columns()),
        |good| Size {
            rows: good.rows,
            cols: good.cols,
        },
    );
    let mut fresh = Core::new(size, Past::new(0));
    if let Some(good) = guard {
        let paint = super::painter::full(good, (good.rows, good.cols), &[], "");
        if catch_unwind(AssertUnwindSafe(|| fresh.parse(&paint))).is_err() {
            fresh = Core::new(size, Past::new(0));
        }
    }
    shed_sync_buffer(&mut fresh.parser);
    fresh.past = past;
    *core = fresh;
}

struct Unwinder;

impl Handler for Unwinder {
    fn input(&mut self, _: char) {
        // Not a failure: no message, and caught by the caller.
        resume_unwind(Box::new(()));
    }
}

/// The parser reserves 2 MiB for synchronised updates, which it never gets to see here. It drops
/// the buffer only when it is unwound while replaying it.
fn shed_sync_buffer(parser: &mut Parser) {
    parser.sync_timeout().armed.set(true);
    parser.advance(&mut Unwinder, b" ");
    let _ = catch_unwind(AssertUnwindSafe(|| parser.stop_sync(&mut Unwinder)));
    parser.sync_timeout().armed.set(false);
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
