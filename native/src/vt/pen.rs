//! SGR: how one look becomes another.

use std::io::Write;

use alacritty_terminal::term::cell::Flags;
use alacritty_terminal::vte::ansi::{Color, NamedColor};

use super::snapshot::{BLINK, Style};

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
