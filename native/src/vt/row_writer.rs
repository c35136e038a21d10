//! Rows of a terminal, brought from what they are to what they are to be, and single cells put back.

use std::sync::Arc;

use alacritty_terminal::term::cell::{Cell, Flags};

use super::out::Out;
use super::snapshot::{Row, Style, is_default_blank, seen_as};

/// Shorter runs of blanks are printed, longer ones erased.
const ERASE_RUN: usize = 8;

impl Out {
    /// Rewrite the character that covers a cell, keeping the row's wrapping.
    pub(super) fn rewrite(&mut self, lines: &[Arc<Row>], row: usize, col: usize) {
        let line = &lines[row];
        let col = if line.width(col) == 0 { col - 1 } else { col };
        let last = col + line.width(col) >= self.cols;
        let wraps = last && line.wrapped && row + 1 < lines.len();
        self.goto(row, col);
        if wraps && fills(lines, row) {
            self.erase_last(lines, row);
        } else {
            self.put(&line.cells[col]);
        }
        if wraps {
            self.continue_on(lines, row + 1);
        }
    }

    /// The first character of a row, through the margin of the one above, so that the terminal joins them again.
    fn continue_on(&mut self, lines: &[Arc<Row>], row: usize) {
        let line = &lines[row];
        self.position = Some((row, 0));
        self.edge = None;
        self.put(&line.cells[0]);
        // A wide one on two columns is the last of its row too.
        if line.wrapped && row + 1 < lines.len() && line.width(0) == self.cols {
            self.continue_on(lines, row + 1);
        }
    }

    /// Back to what a row is behind its text: erased, since printed blanks would be copied and kept.
    pub(super) fn erase_behind(&mut self, row: usize, col: usize) {
        self.goto(row, col);
        self.set_pen(&Style::default());
        self.push(b"\x1b[K");
    }

    /// A whole row that does not go on in the next: erased first, since some terminals take a row to be as long as it ever was.
    pub(super) fn anew(&mut self, lines: &[Arc<Row>], row: usize) {
        let line = &lines[row];
        self.erase_behind(row, 0);
        let mut col = 0;
        if row > 0 && lines[row - 1].wrapped && line.len > 0 {
            self.rewrite(lines, row - 1, self.cols - 1);
            col = line.width(0);
        }
        while col < line.len {
            self.goto(row, col);
            self.put(&line.cells[col]);
            col += line.width(col).max(1);
        }
    }

    /// Free the last cell and stay on it, so that a wide character wraps by itself.
    fn erase_last(&mut self, lines: &[Arc<Row>], row: usize) {
        self.goto(row, self.cols - 1);
        self.set_pen_of(&lines[row + 1].cells[0]);
        self.push(b"\x1b[K");
    }

    /// Rows from `base` to `target`; plain modes.
    pub(super) fn rows(&mut self, base: &mut [Arc<Row>], target: &[Arc<Row>]) {
        self.scroll(base, target);
        let mut joined = false;
        for row in 0..target.len() {
            let goes_on = |line: &Row| line.wrapped && row + 1 < target.len();
            if !joined && base[row].same(&target[row]) {
                continue;
            }
            let wraps = goes_on(&target[row]);
            joined = self.row(row, &base[row], target, joined, wraps, goes_on(&base[row]));
        }
    }

    /// One row; true when the next row's first character must follow at once.
    fn row(
        &mut self,
        row: usize,
        base: &Row,
        lines: &[Arc<Row>],
        joined: bool,
        wraps: bool,
        wrapped: bool,
    ) -> bool {
        let cols = self.cols;
        let target = &*lines[row];
        let filler = wraps && fills(lines, row);
        let mut last_due = wraps != wrapped || (wraps && base.filler != target.filler);
        let mut col = 0;
        while col < cols {
            let width = target.width(col).max(1);
            let first_due = joined && col == 0;
            let is_last = col + width >= cols;
            if !(first_due || (is_last && last_due)) && equal(base, target, col, width) {
                col += width;
                continue;
            }
            last_due |= is_last && wraps;
            if first_due {
                self.position = Some((row, 0));
                self.edge = None;
            } else {
                self.go_within(row, col, target);
            }
            if is_last && filler {
                self.erase_last(lines, row);
                return true;
            }
            if !first_due && !wraps && col >= target.len {
                self.set_pen(&Style::default());
                self.push(b"\x1b[K");
                return false;
            }
            let run = if first_due {
                0
            } else {
                blank_run(base, target, col)
            };
            if run >= ERASE_RUN && !(wraps && col + run >= cols) {
                self.set_pen(&Style::default());
                self.csi(format_args!("{run}X"));
                col += run;
                continue;
            }
            self.put(&target.cells[col]);
            col += width;
        }
        wraps && last_due && self.edge == Some(row)
    }

    /// Go to a cell of this row; a short way over equal-looking text is reprinted.
    fn go_within(&mut self, row: usize, col: usize, target: &Row) {
        if let Some((at_row, at)) = self.position
            && at_row == row
            && at < col
            && col - at <= 3
        {
            let between = &target.cells[at..col];
            let alike =
                |cell: &Cell| cell.c.is_ascii() && cell.extra.is_none() && self.pen.fits(cell);
            if (at..col).all(|at| target.width(at) == 1) && between.iter().all(alike) {
                for cell in between {
                    self.put(cell);
                }
            }
        }
        self.goto(row, col);
    }

    /// Find rows that have only moved, and move them.
    fn scroll(&mut self, base: &mut [Arc<Row>], target: &[Arc<Row>]) {
        let count = target.len();
        let Some(top) = (0..count).find(|&row| !base[row].same(&target[row])) else {
            return;
        };
        let bottom = (0..count)
            .rposition(|row| !base[row].same(&target[row]))
            .unwrap_or(top);
        let height = bottom + 1 - top;
        // Blank rows are equal everywhere, so only text counts, and only where it must be drawn.
        let gain = |row: usize, from: usize| {
            if target[row].len > 0 && target[row].same(&base[from]) && !target[row].same(&base[row])
            {
                target[row].len as isize
            } else if base[row].len > 0 && target[row].same(&base[row]) {
                -(target[row].len as isize)
            } else {
                0
            }
        };
        let mut best = (0, 0, false);
        for by in 1..height {
            let up: isize = (top..=bottom - by).map(|row| gain(row, row + by)).sum();
            let down: isize = (top + by..=bottom).map(|row| gain(row, row - by)).sum();
            if up - by as isize > best.0 {
                best = (up - by as isize, by, false);
            }
            if down - by as isize > best.0 {
                best = (down - by as isize, by, true);
            }
        }
        let (gained, by, down) = best;
        if gained < 24 {
            return;
        }
        if base[count - 1].wrapped {
            // Never brought over: behind the last row there is none to print on in.
            base[count - 1] = Arc::new(base[count - 1].cut_off());
        }
        self.set_pen(&Style::default());
        let region = (top, bottom + 1) != (0, count);
        if region {
            self.set_region((top, bottom + 1));
        }
        if down {
            self.goto(top, 0);
            for _ in 0..by {
                self.push(b"\x1bM");
            }
            base[top..=bottom].rotate_right(by);
        } else {
            self.goto(bottom, 0);
            self.push(&b"\n".repeat(by));
            base[top..=bottom].rotate_left(by);
        }
        let blank = Row::blank(self.cols);
        let fresh = if down {
            top..top + by
        } else {
            bottom + 1 - by..bottom + 1
        };
        for row in fresh {
            base[row] = Arc::clone(&blank);
        }
        if region {
            self.set_region((0, self.rows));
        }
    }
}

/// The last cell is what the terminal leaves there when the next row's wide character does not fit.
pub(super) fn fills(lines: &[Arc<Row>], row: usize) -> bool {
    let (line, next) = (&lines[row], &lines[row + 1]);
    let (left, wide) = (&line.cells[line.cells.len() - 1], &next.cells[0]);
    let mut blank = wide.clone();
    blank.c = ' ';
    blank.flags.remove(Flags::WIDE_CHAR);
    line.filler && next.width(0) == 2 && *left == seen_as(&blank)
}

fn equal(base: &Row, target: &Row, col: usize, width: usize) -> bool {
    base.cells[col..col + width] == target.cells[col..col + width]
}

/// Default blanks from `col` on, up to the last one that has to change.
fn blank_run(base: &Row, target: &Row, col: usize) -> usize {
    let mut run = 0;
    for at in col..target.cells.len() {
        if !is_default_blank(&target.cells[at]) {
            break;
        }
        if base.cells[at] != target.cells[at] {
            run = at + 1 - col;
        }
    }
    run
}
