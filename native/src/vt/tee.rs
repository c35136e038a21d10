//! Forwards the parser's calls to the grid, recording what the grid hides or would lose.

use std::sync::Arc;

use alacritty_terminal::Term;
use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::{Cursor as GridCursor, Dimensions, Grid};
use alacritty_terminal::index::{Column, Line};
use alacritty_terminal::term::TermMode;
use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::vte::ansi::cursor_icon::CursorIcon;
use alacritty_terminal::vte::ansi::{
    Attr, CharsetIndex, ClearMode, CursorShape, CursorStyle, Handler, Hyperlink, KeyboardModes,
    KeyboardModesApplyBehavior, LineClearMode, Mode, ModifyOtherKeys, NamedMode, NamedPrivateMode,
    PrivateMode, Rgb, StandardCharset, TabulationClearMode,
};
use unicode_width::UnicodeWidthChar;

use super::history::{History, Line as HistoryLine};
use super::line_text::line_text;
use super::snapshot::{BLINK, CHARSETS, Cursor, Main, RowCache};
use super::state::{Beside, STACK_DEPTH, TITLE_BYTES, Tracked, every_eighth};

/// More combining characters than this on one cell are dropped.
const ZERO_WIDTH_PER_CELL: usize = 8;
/// Longer hyperlinks are dropped: each cell of a repaint may have to name its own.
const LINK_BYTES: usize = 2083;

/// Where lines go that leave the top of the main screen.
pub(super) struct Past {
    kept: Option<History>,
    /// Lines that left while none were kept.
    forgotten: u64,
    /// Rows of the grid that are here already, and are to leave next.
    ahead: usize,
    /// The last line goes on in the first row of the screen.
    goes_on: bool,
}

impl Past {
    pub(super) fn new(limit_lines: usize) -> Self {
        Self {
            kept: (limit_lines > 0).then(|| History::new(limit_lines)),
            forgotten: 0,
            ahead: 0,
            goes_on: false,
        }
    }

    /// Lines that pass by behind the first `above` rows of the grid, which are to scroll out of it without effect then.
    pub(super) fn pass_by<'a>(
        &mut self,
        grid: &Grid<Cell>,
        above: usize,
        rows: impl Iterator<Item = (&'a [u8], bool)>,
    ) {
        for row in 0..above {
            self.push_row(&grid[Line(row as i32)][..]);
        }
        for (text, wrapped) in rows {
            self.goes_on = wrapped;
            match &mut self.kept {
                None => self.forgotten += 1,
                Some(history) => history.push_text(text, wrapped),
            }
        }
        self.ahead = above;
    }

    /// Every row that leaves counts again.
    pub(super) fn caught_up(&mut self) {
        self.ahead = 0;
    }

    pub(super) fn push_row(&mut self, cells: &[Cell]) {
        if self.ahead > 0 {
            self.ahead -= 1;
            return;
        }
        let wrapped = cells
            .last()
            .is_some_and(|cell| cell.flags.contains(Flags::WRAPLINE));
        self.goes_on = wrapped;
        match &mut self.kept {
            None => self.forgotten += 1,
            Some(history) => history.push(HistoryLine {
                text: line_text(cells),
                wrapped,
            }),
        }
    }

    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }

    pub(super) fn clear(&mut self) {
        if let Some(history) = &mut self.kept {
            history.clear();
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.kept.as_ref().map_or(self.forgotten, History::first)
    }

    pub(super) fn end(&self) -> u64 {
        self.kept.as_ref().map_or(self.forgotten, History::end)
    }

    pub(super) fn lines(&self, first: u64, end: u64, max_bytes: usize) -> Vec<HistoryLine> {
        self.kept
            .as_ref()
            .map_or_else(Vec::new, |history| history.lines(first, end, max_bytes))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, History::memory_bytes)
    }
}

/// Everything one handler call may touch.
pub(super) struct Tee<'a> {
    pub(super) term: &'a mut Term<VoidListener>,
    pub(super) tracked: &'a mut Tracked,
    pub(super) past: &'a mut Past,
    pub(super) rows: &'a mut RowCache,
    pub(super) main: &'a mut Option<Arc<Main>>,
}

impl Tee<'_> {
    fn alternate(&self) -> bool {
        self.term.mode().contains(TermMode::ALT_SCREEN)
    }

    /// The region begins at the top of the main screen, so lines that scroll out are history.
    fn scrolls_out(&self) -> bool {
        self.tracked.modes.margins.0 == 0 && !self.alternate()
    }

    /// Called before `count` lines leave the top.
    fn keep_rows(&mut self, count: usize) {
        for row in 0..count {
            self.past.push_row(&self.term.grid()[Line(row as i32)][..]);
        }
    }

    fn before_linefeed(&mut self) {
        let line = self.term.grid().cursor.point.line.0;
        if line + 1 == self.tracked.modes.margins.1 as i32 && self.scrolls_out() {
            self.keep_rows(1);
        }
    }

    /// Called before a character that would first wrap the line.
    fn before_wrap(&mut self) {
        if self.tracked.modes.wrap {
            self.before_linefeed();
        }
    }

    fn clear_stale_wrap(&mut self) {
        let last = self.term.columns() - 1;
        let cursor = &mut self.term.grid_mut().cursor;
        if cursor.point.column.0 != last {
            cursor.input_needs_wrap = false;
        }
    }

    fn too_many_marks(&self) -> bool {
        let grid = self.term.grid();
        let mut col = grid.cursor.point.column.0;
        if !grid.cursor.input_needs_wrap {
            col = col.saturating_sub(1);
        }
        let row = &grid[grid.cursor.point.line];
        if row[Column(col)].flags.contains(Flags::WIDE_CHAR_SPACER) {
            col = col.saturating_sub(1);
        }
        row[Column(col)]
            .zerowidth()
            .is_some_and(|marks| marks.len() >= ZERO_WIDTH_PER_CELL)
    }

    fn enter_alternate(&mut self) {
        if self.alternate() {
            return;
        }
        let lines = self.rows.take(self.term);
        *self.main = Some(Arc::new(Main {
            lines,
            cursor: Cursor::of(&self.term.grid().cursor, self.tracked.beside()),
        }));
        self.tracked.saved[0] = self.tracked.beside();
        self.term.swap_alt();
        self.swap_kitty();
    }

    /// `restore`: the cursor goes back to where it was when the alternate screen was entered.
    fn leave_alternate(&mut self, restore: bool) {
        if !self.alternate() {
            return;
        }
        *self.main = None;
        let cursor = self.term.grid().cursor.clone();
        self.term.swap_alt();
        if restore {
            self.restore(self.tracked.saved[0]);
        } else {
            self.term.grid_mut().cursor = cursor;
        }
        self.swap_kitty();
    }

    /// What was saved with the cursor, which is back in its place: inside the region if that is in force.
    fn restore(&mut self, saved: Beside) {
        self.set_active_charset(saved.charset);
        self.keep_cursor(|term| {
            let origin = PrivateMode::Named(NamedPrivateMode::Origin);
            if saved.origin {
                term.set_private_mode(origin);
            } else {
                term.unset_private_mode(origin);
            }
        });
        self.tracked.modes.origin = saved.origin;
        if saved.origin {
            let (top, end) = self.tracked.modes.margins;
            let line = &mut self.term.grid_mut().cursor.point.line;
            *line = Line(line.0.clamp(top as i32, end as i32 - 1));
        }
    }

    /// Do something to the grid, and put the cursor where it was.
    fn keep_cursor(&mut self, change: impl FnOnce(&mut Term<VoidListener>)) {
        let cursor = self.term.grid().cursor.clone();
        change(self.term);
        self.term.grid_mut().cursor = cursor;
    }

    /// Up or down; who is inside the region does not leave it.
    fn move_rows(&mut self, count: usize, down: bool) {
        let rows = self.term.screen_lines();
        let (top, end) = self.tracked.modes.margins;
        let cursor = &mut self.term.grid_mut().cursor;
        let row = cursor.point.line.0 as usize;
        let row = if down {
            let last = if row < end { end } else { rows } - 1;
            row.saturating_add(count).min(last)
        } else {
            let first = if row >= top { top } else { 0 };
            row.saturating_sub(count).max(first)
        };
        cursor.point.line = Line(row as i32);
        cursor.input_needs_wrap = false;
    }

    /// DECSTR. The cursor stays where it is.
    pub(super) fn soft_reset(&mut self) {
        self.keep_cursor(|term| {
            term.set_scrolling_region(1, None);
            term.unset_private_mode(PrivateMode::Named(NamedPrivateMode::Origin));
            term.set_private_mode(PrivateMode::Named(NamedPrivateMode::LineWrap));
            term.unset_mode(Mode::Named(NamedMode::Insert));
        });
        let modes = &mut self.tracked.modes;
        modes.margins = (0, self.term.screen_lines());
        modes.wrap = true;
        modes.visible = true;
        (modes.origin, modes.insert) = (false, false);
        (modes.app_cursor, modes.app_keypad) = (false, false);
        self.term.terminal_attribute(Attr::Reset);
        for index in CHARSETS {
            self.term.configure_charset(index, StandardCharset::Ascii);
        }
        self.set_active_charset(CharsetIndex::G0);
        self.tracked.saved[usize::from(self.alternate())] = self.tracked.beside();
        self.term.grid_mut().saved_cursor = GridCursor::default();
    }

    fn swap_kitty(&mut self) {
        let modes = &mut self.tracked.modes;
        std::mem::swap(&mut modes.kitty, &mut modes.kitty_other);
    }

    fn set_flag(&mut self, mode: PrivateMode, on: bool) {
        let modes = &mut self.tracked.modes;
        let number = mode.raw();
        match number {
            1 => modes.app_cursor = on,
            3 => modes.margins = (0, self.term.screen_lines()),
            5 => modes.reverse = on,
            6 => modes.origin = on,
            7 => modes.wrap = on,
            12 => modes.blink = Some(on),
            25 => modes.visible = on,
            9 | 1000 | 1002 | 1003 => switch(&mut modes.mouse, number, on),
            1005 | 1006 | 1015 | 1016 => switch(&mut modes.mouse_encoding, number, on),
            1004 => modes.focus = on,
            1007 => modes.alternate_scroll = Some(on),
            2004 => modes.paste = on,
            2031 => modes.scheme_reports = on,
            2048 => modes.size_reports = on,
            1048 if on => self.save_cursor_position(),
            1048 => self.restore_cursor_position(),
            47 | 1047 | 1049 if on => self.enter_alternate(),
            47 | 1047 => self.leave_alternate(false),
            1049 => self.leave_alternate(true),
            _ => {}
        }
    }
}

fn switch(slot: &mut u16, number: u16, on: bool) {
    if on {
        *slot = number;
    } else if *slot == number {
        *slot = 0;
    }
}

fn is_alternate(mode: PrivateMode) -> bool {
    mode == PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor)
}

/// Text for a control string: without control characters, not too long.
fn harmless(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > TITLE_BYTES {
            break;
        }
        kept.push(c);
    }
    kept
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $kind:ty),*);)*) => {
        $(#[inline] fn $name(&mut self, $($arg: $kind),*) { self.term.$name($($arg),*); })*
    };
}

impl Handler for Tee<'_> {
    forward! {
        goto(line: i32, col: usize);
        goto_line(line: i32);
        insert_blank(count: usize);
        move_forward(count: usize);
        move_backward(count: usize);
        backspace();
        carriage_return();
        scroll_down(count: usize);
        insert_blank_lines(count: usize);
        delete_lines(count: usize);
        erase_chars(count: usize);
        delete_chars(count: usize);
        move_forward_tabs(count: u16);
        clear_line(mode: LineClearMode);
        reverse_index();
        configure_charset(index: CharsetIndex, charset: StandardCharset);
        set_color(index: usize, colour: Rgb);
        reset_color(index: usize);
        decaln();
    }

    #[inline]
    fn input(&mut self, c: char) {
        // Below U+0300 nothing is wide, and what has no width is ignored by the grid.
        let wide = c >= '\u{300}' && {
            match c.width() {
                Some(0) if self.too_many_marks() => return,
                Some(0) => return self.term.input(c),
                width => width == Some(2),
            }
        };
        let cursor = &self.term.grid().cursor;
        if cursor.input_needs_wrap || (wide && cursor.point.column.0 + 1 >= self.term.columns()) {
            self.before_wrap();
        }
        self.term.input(c);
    }

    /// The grid would take its own row for one that counts from the top of the region.
    fn goto_col(&mut self, col: usize) {
        let last = self.term.columns() - 1;
        let cursor = &mut self.term.grid_mut().cursor;
        cursor.point.column = Column(col.min(last));
        cursor.input_needs_wrap = false;
    }

    fn move_up(&mut self, count: usize) {
        self.move_rows(count, false);
    }

    fn move_down(&mut self, count: usize) {
        self.move_rows(count, true);
    }

    fn move_up_and_cr(&mut self, count: usize) {
        self.move_rows(count, false);
        self.term.carriage_return();
    }

    fn move_down_and_cr(&mut self, count: usize) {
        self.move_rows(count, true);
        self.term.carriage_return();
    }

    #[inline]
    fn terminal_attribute(&mut self, attr: Attr) {
        let flags = &mut self.term.grid_mut().cursor.template.flags;
        match attr {
            Attr::BlinkSlow | Attr::BlinkFast => flags.insert(BLINK),
            Attr::CancelBlink => flags.remove(BLINK),
            _ => self.term.terminal_attribute(attr),
        }
    }

    fn put_tab(&mut self, count: u16) {
        if self.term.grid().cursor.input_needs_wrap {
            self.before_wrap();
        }
        self.term.put_tab(count);
    }

    #[inline]
    fn linefeed(&mut self) {
        self.before_linefeed();
        self.term.linefeed();
    }

    #[inline]
    fn newline(&mut self) {
        self.before_linefeed();
        self.term.newline();
    }

    fn scroll_up(&mut self, count: usize) {
        if self.scrolls_out() {
            self.keep_rows(count.min(self.tracked.modes.margins.1));
        }
        self.term.scroll_up(count);
    }

    fn clear_screen(&mut self, mode: ClearMode) {
        if matches!(mode, ClearMode::Saved) {
            return;
        }
        if matches!(mode, ClearMode::All) && !self.alternate() {
            let lines = self.rows.take(self.term);
            let seen = lines.iter().rposition(|row| row.len > 0);
            self.keep_rows(seen.map_or(0, |last| last + 1));
            // The grid would scroll the lines out a second time.
            self.term.grid_mut().reset_region(..);
            return;
        }
        self.term.clear_screen(mode);
    }

    fn move_backward_tabs(&mut self, count: u16) {
        self.term.move_backward_tabs(count);
        self.clear_stale_wrap();
    }

    fn set_horizontal_tabstop(&mut self) {
        let col = self.term.grid().cursor.point.column.0;
        self.tracked.modes.tabs[col] = true;
        self.term.set_horizontal_tabstop();
    }

    fn clear_tabs(&mut self, mode: TabulationClearMode) {
        match mode {
            TabulationClearMode::Current => {
                let col = self.term.grid().cursor.point.column.0;
                self.tracked.modes.tabs[col] = false;
            }
            TabulationClearMode::All => self.tracked.modes.tabs.fill(false),
        }
        self.term.clear_tabs(mode);
    }

    fn set_tabs(&mut self, _interval: u16) {
        let cursor = self.term.grid().cursor.clone();
        self.tracked.modes.tabs = every_eighth(self.term.columns());
        self.term.clear_tabs(TabulationClearMode::All);
        for col in (0..self.term.columns()).step_by(8) {
            self.term.grid_mut().cursor.point.column = Column(col);
            self.term.set_horizontal_tabstop();
        }
        self.term.grid_mut().cursor = cursor;
    }

    fn save_cursor_position(&mut self) {
        self.tracked.saved[usize::from(self.alternate())] = self.tracked.beside();
        self.term.save_cursor_position();
    }

    fn restore_cursor_position(&mut self) {
        self.term.restore_cursor_position();
        self.restore(self.tracked.saved[usize::from(self.alternate())]);
        self.clear_stale_wrap();
    }

    fn set_active_charset(&mut self, index: CharsetIndex) {
        self.tracked.charset = index;
        self.term.set_active_charset(index);
    }

    fn reset_state(&mut self) {
        let palette = std::mem::take(&mut self.tracked.modes.palette);
        *self.tracked = Tracked::new(self.term.screen_lines(), self.term.columns());
        self.tracked.modes.palette = palette;
        *self.main = None;
        self.term.reset_state();
    }

    fn set_mode(&mut self, mode: Mode) {
        self.term.set_mode(mode);
        self.ansi_flag(mode, true);
    }

    fn unset_mode(&mut self, mode: Mode) {
        self.term.unset_mode(mode);
        self.ansi_flag(mode, false);
    }

    fn set_private_mode(&mut self, mode: PrivateMode) {
        if !is_alternate(mode) {
            self.term.set_private_mode(mode);
        }
        self.set_flag(mode, true);
    }

    fn unset_private_mode(&mut self, mode: PrivateMode) {
        if !is_alternate(mode) {
            self.term.unset_private_mode(mode);
        }
        if mode == PrivateMode::Named(NamedPrivateMode::Origin) {
            self.term.goto(0, 0);
        }
        self.set_flag(mode, false);
    }

    /// Regions below the screen are ignored; the grid would take them as empty ones.
    fn set_scrolling_region(&mut self, top: usize, bottom: Option<usize>) {
        let rows = self.term.screen_lines();
        let bottom = bottom.map_or(rows, |bottom| bottom.min(rows));
        if top >= 1 && top < bottom {
            self.tracked.modes.margins = (top - 1, bottom);
            self.term.set_scrolling_region(top, Some(bottom));
        }
    }

    fn set_keypad_application_mode(&mut self) {
        self.tracked.modes.app_keypad = true;
    }

    fn unset_keypad_application_mode(&mut self) {
        self.tracked.modes.app_keypad = false;
    }

    fn set_cursor_style(&mut self, style: Option<CursorStyle>) {
        self.tracked.modes.blink = None;
        self.tracked.modes.cursor_style = style.map_or(0, |style| {
            style_number(style.shape) + u8::from(!style.blinking)
        });
    }

    fn set_cursor_shape(&mut self, shape: CursorShape) {
        self.tracked.modes.cursor_style = style_number(shape) + 1;
    }

    fn set_title(&mut self, title: Option<String>) {
        self.tracked.modes.title = title.as_deref().map_or_else(String::new, harmless);
    }

    fn push_title(&mut self) {
        let titles = &mut self.tracked.titles;
        if titles.len() >= STACK_DEPTH {
            titles.remove(0);
        }
        titles.push(self.tracked.modes.title.clone());
    }

    fn pop_title(&mut self) {
        if let Some(title) = self.tracked.titles.pop() {
            self.tracked.modes.title = title;
        }
    }

    fn set_hyperlink(&mut self, link: Option<Hyperlink>) {
        let link = link.filter(|link| {
            let id = link.id.as_deref().unwrap_or("");
            link.uri.len() + id.len() <= LINK_BYTES
                && !link.uri.chars().chain(id.chars()).any(char::is_control)
        });
        self.term.set_hyperlink(link);
    }

    fn set_mouse_cursor_icon(&mut self, icon: CursorIcon) {
        self.tracked.modes.pointer = icon.name().to_owned();
    }

    fn push_keyboard_mode(&mut self, mode: KeyboardModes) {
        self.tracked.modes.kitty.push(mode.bits());
    }

    fn pop_keyboard_modes(&mut self, count: u16) {
        self.tracked.modes.kitty.pop(count.into());
    }

    fn set_keyboard_mode(&mut self, mode: KeyboardModes, behaviour: KeyboardModesApplyBehavior) {
        let now = self.tracked.modes.kitty.flags();
        self.tracked.modes.kitty.set(match behaviour {
            KeyboardModesApplyBehavior::Replace => mode.bits(),
            KeyboardModesApplyBehavior::Union => now | mode.bits(),
            KeyboardModesApplyBehavior::Difference => now & !mode.bits(),
        });
    }

    fn set_modify_other_keys(&mut self, mode: ModifyOtherKeys) {
        self.tracked.modes.other_keys = mode as u8;
    }
}

impl Tee<'_> {
    fn ansi_flag(&mut self, mode: Mode, on: bool) {
        match mode.raw() {
            4 => self.tracked.modes.insert = on,
            20 => self.tracked.modes.newline = on,
            _ => {}
        }
    }
}

fn style_number(shape: CursorShape) -> u8 {
    match shape {
        CursorShape::Underline => 3,
        CursorShape::Beam => 5,
        _ => 1,
    }
}
