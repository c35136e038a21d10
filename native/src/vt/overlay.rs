//! Cells drawn over the picture, and taken away again.

use std::sync::Arc;

use unicode_width::UnicodeWidthStr;

use alacritty_terminal::term::cell::Flags;

use super::out::Out;
use super::snapshot::{Row, Snapshot, Style};

/// How an overlay cell looks.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// As the cell to the left of it.
    Beside,
    Of(Style),
}

/// One character drawn over the screen.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) row: usize,
    pub(super) col: usize,
    pub(super) text: String,
    pub(super) look: Look,
    pub(super) underline: bool,
}

/// Where an earlier overlay left the cursor; None: where it truly is.
pub(super) type Left = Option<(usize, usize)>;

/// Draw cells over `screen`, then put the cursor at `cursor` (None: where it truly is).
pub(super) fn draw(
    screen: &Snapshot,
    left: Left,
    cells: &[Drawn],
    cursor: Option<(usize, usize)>,
) -> Vec<u8> {
    let mut out = begin(screen, left);
    let cells: Vec<&Drawn> = cells
        .iter()
        .filter(|cell| cell.row < screen.rows && cell.col < screen.cols)
        .collect();
    if !cells.is_empty() {
        out.plain();
    }
    for cell in &cells {
        let mut style = match &cell.look {
            Look::Of(style) => style.clone(),
            Look::Beside => {
                let line = &screen.lines[cell.row];
                cell.col
                    .checked_sub(1)
                    .map_or_else(Style::default, |left| Style {
                        link: None,
                        ..Style::of(&line.cells[left])
                    })
            }
        };
        if cell.underline && !style.flags.intersects(Flags::ALL_UNDERLINES) {
            style.flags |= Flags::UNDERLINE;
        }
        let text: String = cell.text.chars().filter(|c| !c.is_control()).collect();
        out.goto(cell.row, cell.col);
        out.set_pen(&style);
        out.push(text.as_bytes());
        out.advance(text.width(), !text.is_ascii());
    }
    end(out, screen, cursor, cells.len())
}

/// Put the true content of these cells back, and nothing behind the text of a row, and cursor and pen as they truly are.
pub(super) fn undraw(screen: &Snapshot, left: Left, cells: &[(usize, usize)]) -> Vec<u8> {
    let mut out = begin(screen, left);
    let mut cells: Vec<(usize, usize)> = cells
        .iter()
        .copied()
        .filter(|&(row, col)| row < screen.rows && col < screen.cols)
        .collect();
    // From left to right, so that each half of a wide character is rewritten once.
    cells.sort_unstable();
    cells.dedup();
    if !cells.is_empty() {
        out.plain();
    }
    for row in cells.chunk_by(|left, right| left.0 == right.0) {
        uncover(&mut out, &screen.lines, row);
    }
    end(out, screen, None, cells.len())
}

/// Cells of one row.
fn uncover(out: &mut Out, lines: &[Arc<Row>], cells: &[(usize, usize)]) {
    let row = cells[0].0;
    let line = &lines[row];
    if cells.len() == line.cells.len() && !line.wrapped {
        return out.anew(lines, row);
    }
    for &(_, col) in cells {
        if col >= line.len && !line.wrapped {
            return out.erase_behind(row, col);
        }
        out.rewrite(lines, row, col);
    }
}

fn begin(screen: &Snapshot, left: Left) -> Out {
    let mut out = Out::new(screen.rows, screen.cols, &screen.cursor, &screen.modes);
    if left.is_some() {
        out.position = left;
    }
    out
}

fn end(mut out: Out, screen: &Snapshot, cursor: Option<(usize, usize)>, count: usize) -> Vec<u8> {
    out.region_modes(&screen.modes);
    let mut place = screen.cursor.clone();
    if let Some((row, col)) = cursor {
        place.row = row.min(screen.rows - 1);
        place.col = col.min(screen.cols - 1);
        place.pending_wrap = false;
    }
    out.place(&place, &screen.lines);
    if count > 1 {
        let mut whole = b"\x1b[?2026h".to_vec();
        whole.append(&mut out.bytes);
        whole.extend_from_slice(b"\x1b[?2026l");
        return whole;
    }
    out.bytes
}
