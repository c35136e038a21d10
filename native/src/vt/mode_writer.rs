//! Modes of a terminal, brought from what they are to what they are to be.

use std::io::Write;

use super::out::Out;
use super::state::{Kitty, Modes};

impl Out {
    /// All modes but origin and margins, whose setting moves the cursor.
    pub(super) fn set_modes(&mut self, to: &Modes, blind: bool) {
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
    pub(super) fn set_kitty(&mut self, from: &Kitty, to: &Kitty, blind: bool) {
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

    pub(super) fn visibility(&mut self, on: bool) {
        if self.modes.visible != on {
            self.private(25, on);
            self.modes.visible = on;
        }
    }
}
