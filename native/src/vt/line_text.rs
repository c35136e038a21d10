//! A row as a line of text with SGR, as the history keeps it.

use alacritty_terminal::term::cell::{Cell, Flags};
use alacritty_terminal::vte::ansi::{Color, NamedColor};

use super::history::Line as HistoryLine;
use super::pen::sgr;
use super::snapshot::{BACKGROUND, FOREGROUND, Style};

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

/// Columns of the first character of a line of text with SGR.
pub(super) fn first_width(line: &HistoryLine) -> usize {
    use unicode_width::UnicodeWidthChar;
    plain_text(&line.text)
        .chars()
        .find_map(UnicodeWidthChar::width)
        .unwrap_or(1)
}

/// Columns of a line of text with SGR.
pub(super) fn text_width(text: &[u8]) -> usize {
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
