//! Replies to queries, for when no real terminal hears them.

use alacritty_terminal::term::color::Colors;
use alacritty_terminal::vte::ansi::Rgb;

use super::pen;
use super::scanner::Query;
use super::snapshot::{Cursor, Style};
use super::state::Modes;

/// Assumed size of a cell.
const CELL_HEIGHT_PX: usize = 16;
const CELL_WIDTH_PX: usize = 8;

/// What replies tell about.
pub(super) struct Facts<'a> {
    pub(super) modes: &'a Modes,
    pub(super) alternate: bool,
    pub(super) cursor: Cursor,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) colours: &'a Colors,
}

pub(super) fn to(query: &Query, facts: &Facts<'_>) -> Vec<u8> {
    let Facts {
        modes, rows, cols, ..
    } = facts;
    let text = match query {
        Query::PrimaryAttributes => "\x1b[?62;22c".to_owned(),
        Query::SecondaryAttributes => "\x1b[>1;10;0c".to_owned(),
        Query::TertiaryAttributes => "\x1bP!|00000000\x1b\\".to_owned(),
        Query::Status => "\x1b[0n".to_owned(),
        Query::CursorPosition { private } => {
            let top = if modes.origin { modes.margins.0 } else { 0 };
            let mark = if *private { "?" } else { "" };
            let row = facts.cursor.row.saturating_sub(top) + 1;
            format!("\x1b[{mark}{row};{}R", facts.cursor.col + 1)
        }
        Query::Mode { private, number } => {
            let mark = if *private { "?" } else { "" };
            format!(
                "\x1b[{mark}{number};{}$y",
                mode_state(facts, *private, *number)
            )
        }
        Query::Setting(name) => setting(name, facts),
        Query::Version => format!("\x1bP>|qsh({})\x1b\\", env!("CARGO_PKG_VERSION")),
        Query::Colour { number, terminator } => {
            let (index, prefix) = match number {
                10..=12 => (usize::from(*number) + 246, number.to_string()),
                _ => {
                    let index = number & 0xff;
                    (usize::from(index), format!("4;{index}"))
                }
            };
            let Rgb { r, g, b } = facts.colours[index].unwrap_or_else(|| usual_colour(index));
            let end = String::from_utf8_lossy(terminator);
            format!("\x1b]{prefix};rgb:{r:02x}{r:02x}/{g:02x}{g:02x}/{b:02x}{b:02x}{end}")
        }
        Query::KittyFlags => format!("\x1b[?{}u", modes.kitty.flags()),
        Query::WindowPixels => {
            let (height, width) = (rows * CELL_HEIGHT_PX, cols * CELL_WIDTH_PX);
            format!("\x1b[4;{height};{width}t")
        }
        Query::CellPixels => format!("\x1b[6;{CELL_HEIGHT_PX};{CELL_WIDTH_PX}t"),
        Query::WindowCells => format!("\x1b[8;{rows};{cols}t"),
        Query::Capability(name) => format!("\x1bP0+r{}\x1b\\", printable(name)),
        Query::OtherKeys => format!("\x1b[>4;{}m", modes.other_keys),
    };
    text.into_bytes()
}

/// A reply must not carry control characters back to the program's input.
fn printable(name: &[u8]) -> String {
    name.iter()
        .filter(|byte| (0x20..0x7f).contains(*byte))
        .map(|&byte| char::from(byte))
        .collect()
}

fn mode_state(facts: &Facts<'_>, private: bool, number: u16) -> u8 {
    let modes = facts.modes;
    let on = match (private, number) {
        (false, 4) => modes.insert,
        (false, 20) => modes.newline,
        (true, 1) => modes.app_cursor,
        (true, 5) => modes.reverse,
        (true, 6) => modes.origin,
        (true, 7) => modes.wrap,
        (true, 12) => modes.blink.unwrap_or(modes.cursor_style % 2 == 1),
        (true, 25) => modes.visible,
        (true, 9 | 1000 | 1002 | 1003) => modes.mouse == number,
        (true, 1005 | 1006 | 1015 | 1016) => modes.mouse_encoding == number,
        (true, 1004) => modes.focus,
        (true, 1007) => modes.alternate_scroll == Some(true),
        (true, 47 | 1047 | 1049) => facts.alternate,
        (true, 2004) => modes.paste,
        (true, 2026) => false,
        (true, 2031) => modes.scheme_reports,
        (true, 2048) => modes.size_reports,
        _ => return 0,
    };
    if on { 1 } else { 2 }
}

/// DECRQSS.
fn setting(name: &[u8], facts: &Facts<'_>) -> String {
    let value = match name {
        b"m" => {
            let mut bytes = b"0".to_vec();
            let mut look = Vec::new();
            pen::sgr(&mut look, &Style::default(), &facts.cursor.pen);
            if let Some(codes) = look
                .strip_prefix(b"\x1b[")
                .and_then(|rest| rest.strip_suffix(b"m"))
            {
                bytes.push(b';');
                bytes.extend_from_slice(codes);
            }
            bytes.push(b'm');
            String::from_utf8_lossy(&bytes).into_owned()
        }
        b"r" => format!("{};{}r", facts.modes.margins.0 + 1, facts.modes.margins.1),
        b" q" => format!("{} q", facts.modes.cursor_style),
        _ => return "\x1bP0$r\x1b\\".to_owned(),
    };
    format!("\x1bP1$r{value}\x1b\\")
}

/// Colours of xterm, light on dark.
fn usual_colour(index: usize) -> Rgb {
    const BASIC: [u32; 16] = [
        0x00_0000, 0xcd_0000, 0x00_cd00, 0xcd_cd00, 0x00_00ee, 0xcd_00cd, 0x00_cdcd, 0xe5_e5e5,
        0x7f_7f7f, 0xff_0000, 0x00_ff00, 0xff_ff00, 0x5c_5cff, 0xff_00ff, 0x00_ffff, 0xff_ffff,
    ];
    let step = |level: usize| if level == 0 { 0 } else { 55 + 40 * level as u8 };
    match index {
        0..=15 => {
            let [_, r, g, b] = BASIC[index].to_be_bytes();
            Rgb { r, g, b }
        }
        16..=231 => {
            let cube = index - 16;
            Rgb {
                r: step(cube / 36),
                g: step(cube / 6 % 6),
                b: step(cube % 6),
            }
        }
        232..=255 => {
            let grey = (8 + 10 * (index - 232)) as u8;
            Rgb {
                r: grey,
                g: grey,
                b: grey,
            }
        }
        257 => Rgb { r: 0, g: 0, b: 0 },
        _ => Rgb {
            r: 0xe5,
            g: 0xe5,
            b: 0xe5,
        },
    }
}
