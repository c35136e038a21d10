//! Modes of a terminal, as far as a repaint has to bring them back.

use alacritty_terminal::vte::ansi::{CharsetIndex, Rgb};

/// Kitty keyboard stacks and title stacks keep this many entries.
pub(super) const STACK_DEPTH: usize = 16;
/// Longer titles are cut.
pub(super) const TITLE_BYTES: usize = 4096;

/// The kitty keyboard flags of one screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kitty {
    pub(super) base: u8,
    pub(super) pushed: Vec<u8>,
}

impl Kitty {
    pub(super) fn flags(&self) -> u8 {
        self.pushed.last().copied().unwrap_or(self.base)
    }

    pub(super) fn push(&mut self, flags: u8) {
        if self.pushed.len() >= STACK_DEPTH {
            self.pushed.remove(0);
        }
        self.pushed.push(flags);
    }

    /// Popping more than there is clears all flags, as the protocol says.
    pub(super) fn pop(&mut self, count: usize) {
        if count >= self.pushed.len() {
            if count > self.pushed.len() {
                self.base = 0;
            }
            self.pushed.clear();
        } else {
            self.pushed.truncate(self.pushed.len() - count);
        }
    }

    pub(super) fn set(&mut self, flags: u8) {
        match self.pushed.last_mut() {
            Some(top) => *top = flags,
            None => self.base = flags,
        }
    }
}

/// Everything but cells, pen and cursor. Where a mode was never touched, nothing is repainted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Modes {
    pub(super) origin: bool,
    pub(super) insert: bool,
    pub(super) wrap: bool,
    pub(super) newline: bool,
    pub(super) app_cursor: bool,
    pub(super) app_keypad: bool,
    pub(super) visible: bool,
    pub(super) reverse: bool,
    pub(super) focus: bool,
    pub(super) paste: bool,
    /// Colour scheme reports (2031) and in-band size reports (2048).
    pub(super) scheme_reports: bool,
    pub(super) size_reports: bool,
    pub(super) alternate_scroll: Option<bool>,
    pub(super) blink: Option<bool>,
    /// The DECSCUSR number.
    pub(super) cursor_style: u8,
    /// 9, 1000, 1002, 1003 or 0.
    pub(super) mouse: u16,
    /// 1005, 1006, 1015, 1016 or 0.
    pub(super) mouse_encoding: u16,
    /// First row of the scroll region, and the row behind its last.
    pub(super) margins: (usize, usize),
    pub(super) tabs: Vec<bool>,
    /// Of the screen that is shown, and of the other one.
    pub(super) kitty: Kitty,
    pub(super) kitty_other: Kitty,
    pub(super) other_keys: u8,
    pub(super) title: String,
    /// OSC 22.
    pub(super) pointer: String,
    pub(super) palette: Vec<(u16, Rgb)>,
}

impl Modes {
    pub(super) fn new(rows: usize, cols: usize) -> Self {
        Self {
            origin: false,
            insert: false,
            wrap: true,
            newline: false,
            app_cursor: false,
            app_keypad: false,
            visible: true,
            reverse: false,
            focus: false,
            paste: false,
            scheme_reports: false,
            size_reports: false,
            alternate_scroll: None,
            blink: None,
            cursor_style: 0,
            mouse: 0,
            mouse_encoding: 0,
            margins: (0, rows),
            tabs: every_eighth(cols),
            kitty: Kitty::default(),
            kitty_other: Kitty::default(),
            other_keys: 0,
            title: String::new(),
            pointer: String::new(),
            palette: Vec::new(),
        }
    }
}

/// The tab stops of a fresh terminal.
pub(super) fn every_eighth(cols: usize) -> Vec<bool> {
    (0..cols).map(|col| col % 8 == 0).collect()
}

/// What DECSC keeps besides the grid's cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    pub(super) charset: CharsetIndex,
    pub(super) origin: bool,
}

impl Beside {
    const PLAIN: Self = Self {
        charset: CharsetIndex::G0,
        origin: false,
    };
}

/// What the model's grid does not tell, kept beside it.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    pub(super) modes: Modes,
    pub(super) charset: CharsetIndex,
    /// Main screen, alternate screen.
    pub(super) saved: [Beside; 2],
    pub(super) titles: Vec<String>,
}

impl Tracked {
    pub(super) fn new(rows: usize, cols: usize) -> Self {
        Self {
            modes: Modes::new(rows, cols),
            charset: CharsetIndex::G0,
            saved: [Beside::PLAIN; 2],
            titles: Vec::new(),
        }
    }

    /// What goes with the cursor as it is.
    pub(super) fn beside(&self) -> Beside {
        Beside {
            charset: self.charset,
            origin: self.modes.origin,
        }
    }
}
