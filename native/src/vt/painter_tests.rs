//! A second model, fed with what the painter wrote, must show the same.

use super::super::history::Line as HistoryLine;
use super::super::model::Model;
use super::super::overlay::{self, Drawn, Look};
use super::super::snapshot::{Cursor, Snapshot, Style};
use super::{diff, full};

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ascii,
    Colour,
    Unicode,
    Moves,
    Modes,
}

fn piece(dice: &mut Dice, kind: Kind) -> String {
    match kind {
        Kind::Ascii => match dice.below(6) {
            0 => "\r\n".into(),
            1 => "\t".into(),
            2 => " ".repeat(dice.below(30)),
            _ => dice
                .pick(&["word ", "12345", "x", "a longer piece of text, "])
                .into(),
        },
        Kind::Colour => match dice.below(9) {
            0 => "\x1b[m".into(),
            1 => format!(
                "\x1b[{}m",
                dice.pick(&[
                    "1", "2", "3", "4", "5", "7", "8", "9", "22", "24", "25", "27"
                ])
            ),
            2 => format!("\x1b[{}m", 30 + dice.below(8)),
            3 => format!("\x1b[{}m", 100 + dice.below(8)),
            4 => format!(
                "\x1b[38;5;{};48;2;1;2;{}m",
                dice.below(256),
                dice.below(256)
            ),
            5 => format!("\x1b[4:{}m\x1b[58:5:{}m", dice.below(6), dice.below(256)),
            6 => dice
                .pick(&[
                    "\x1b]8;id=p;http://a/b\x1b\\",
                    "\x1b]8;id=q;http://c\x07",
                    "\x1b]8;;\x1b\\",
                ])
                .into(),
            7 => format!("\x1b[{}K", dice.below(3)),
            _ => "\x1b[49mtext".into(),
        },
        Kind::Unicode => dice
            .pick(&[
                "日本語",
                "é",
                "e\u{301}",
                "👩\u{200d}💻",
                "☂\u{fe0f}",
                "ﬀ",
                "한",
                "─│┌",
                "\u{1f600}x",
            ])
            .into(),
        Kind::Moves => match dice.below(14) {
            0 => format!("\x1b[{};{}H", dice.below(14), dice.below(24)),
            1 => format!(
                "\x1b[{}{}",
                dice.below(9),
                dice.pick(&["A", "B", "C", "D", "G", "d"])
            ),
            2 => format!(
                "\x1b[{}{}",
                dice.below(5),
                dice.pick(&["L", "M", "@", "P", "X", "S", "T"])
            ),
            3 => format!("\x1b[{}J", dice.below(3)),
            4 => "\x1bM".into(),
            5 => "\x08".into(),
            6 => "\x1b7".into(),
            7 => "\x1b8".into(),
            8 => format!("\x1b[{}b", dice.below(30)),
            9 => format!("\x1b[{}Z", dice.below(3)),
            10 => "\r".into(),
            11 => "\n".into(),
            12 => "\x1bH".into(),
            _ => format!("\x1b[{}K", dice.below(3)),
        },
        Kind::Modes => match dice.below(17) {
            0 => {
                let top = dice.below(10);
                format!("\x1b[{};{}r", top, top + dice.below(12))
            }
            1 => format!(
                "\x1b[?{}",
                dice.pick(&["1h", "1l", "5h", "5l", "7h", "7l", "7h", "25l", "25h"])
            ),
            2 => dice
                .pick(&["\x1b[4h", "\x1b[4l", "\x1b[4l", "\x1b[20h", "\x1b[20l"])
                .into(),
            3 => format!(
                "\x1b[?{}h",
                dice.pick(&["9", "1000", "1002", "1003", "1005", "1006", "1016"])
            ),
            4 => format!(
                "\x1b[?{}l",
                dice.pick(&["9", "1000", "1002", "1003", "1005", "1006", "1016"])
            ),
            5 => format!(
                "\x1b[?{}",
                dice.pick(&["1004h", "1004l", "2004h", "2004l", "2031h", "1007l"])
            ),
            6 => dice
                .pick(&["\x1b(0", "\x1b(B", "\x1b)0", "\x0e", "\x0f", "\x0f"])
                .into(),
            7 => format!(
                "\x1b[?{}",
                dice.pick(&["1049h", "1049l", "47h", "47l", "1047l", "1048h", "1048l"])
            ),
            8 => format!("\x1b[{} q", dice.below(7)),
            9 => format!("\x1b[>{}u", dice.below(32)),
            10 => format!("\x1b[<{}u", dice.below(3)),
            11 => format!("\x1b[={};{}u", dice.below(32), 1 + dice.below(3)),
            12 => dice
                .pick(&["\x1b]2;a title\x07", "\x1b]0;\x07", "\x1b[22t", "\x1b[23t"])
                .into(),
            13 => dice
                .pick(&["\x1b[3g", "\x1b[g", "\x1b[?5W", "\x1b[>4;2m", "\x1b[>4;0m"])
                .into(),
            16 => dice
                .pick(&["\x1b[?6h", "\x1b[?6h", "\x1b[?6l", "\x1b[!p"])
                .into(),
            14 => dice
                .pick(&[
                    "\x1b]4;7;rgb:12/34/56\x07",
                    "\x1b]10;#102030\x07",
                    "\x1b]104\x07",
                    "\x1b]110\x07",
                ])
                .into(),
            _ => dice
                .pick(&[
                    "\x1b=",
                    "\x1b>",
                    "\x1b[?12h",
                    "\x1b[?12l",
                    "\x1b]22;text\x07",
                ])
                .into(),
        },
    }
}

fn stream(dice: &mut Dice, kinds: &[Kind], pieces: usize) -> Vec<u8> {
    (0..pieces)
        .flat_map(|_| {
            let kind = if dice.below(2) == 0 {
                Kind::Ascii
            } else {
                kinds[dice.below(kinds.len())]
            };
            piece(dice, kind).into_bytes()
        })
        .collect()
}

/// What the painter promises to bring over.
fn assert_same(got: &Snapshot, want: &Snapshot, why: &dyn Fn() -> String) {
    for (row, (got, want)) in got.lines.iter().zip(&want.lines).enumerate() {
        for col in 0..want.cells.len() {
            assert_eq!(
                got.cells[col],
                want.cells[col],
                "cell {row},{col} {}",
                why()
            );
        }
    }
    let rows = want.lines.len();
    for row in 0..rows - 1 {
        if want.cursor.pending_wrap && want.cursor.row == row {
            // No terminal can be told both: that the line goes on and that it is about to.
            continue;
        }
        assert_eq!(
            got.lines[row].wrapped,
            want.lines[row].wrapped,
            "wrap of {row} {}",
            why()
        );
    }
    assert_eq!(got.cursor, want.cursor, "cursor {}", why());
    let mut modes = got.modes.clone();
    if !want.alternate() {
        // What the alternate screen keeps cannot be told without showing it.
        modes.kitty_other = want.modes.kitty_other.clone();
    }
    assert_eq!(modes, want.modes, "modes {}", why());
    assert_eq!(got.alternate(), want.alternate(), "alternate {}", why());
    if let (Some(got), Some(want)) = (&got.main, &want.main) {
        assert_eq!(got.cursor, want.cursor, "main cursor {}", why());
        for (row, (got, want)) in got.lines.iter().zip(&want.lines).enumerate() {
            assert_eq!(got.cells, want.cells, "main row {row} {}", why());
        }
    }
    if want.saved != Cursor::default() {
        assert_eq!(got.saved, want.saved, "saved cursor {}", why());
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

const SETS: [&[Kind]; 5] = [
    &[Kind::Ascii],
    &[Kind::Colour],
    &[Kind::Unicode, Kind::Colour],
    &[Kind::Moves, Kind::Unicode],
    &[Kind::Moves, Kind::Colour, Kind::Unicode, Kind::Modes],
];
const SIZES: [(usize, usize); 4] = [(12, 20), (1, 2), (4, 3), (24, 80)];

#[test]
fn full_paint_shows_the_same_on_any_terminal() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let kinds = SETS[dice.below(SETS.len())];
        let (rows, cols) = SIZES[dice.below(SIZES.len())];
        let bytes = stream(&mut dice, kinds, 80);
        let mut model = Model::new(rows, cols, 0);
        model.feed(&bytes);
        let want = model.snapshot();
        let paint = full(&want, (rows, cols), &[], "");
        let mut second = Model::new(rows, cols, 0);
        // Whatever was there before, but not its title and colours, which are painted only when set.
        second.feed(&stream(
            &mut dice,
            &[Kind::Moves, Kind::Unicode, Kind::Colour],
            40,
        ));
        second.feed(b"\x1b[4h\x1b[?6h\x1b[2;3r\x1b(0\x1b[?1049h\x1b[>1u\x1b[?1003h");
        second.feed(&paint);
        assert_same(&second.snapshot(), &want, &|| {
            format!(
                "seed {seed} {rows}x{cols}\n{}\n-> {}",
                shown(&bytes),
                shown(&paint)
            )
        });
    }
}

#[test]
fn diff_brings_any_base_to_the_screen() {
    for seed in 0..400 {
        let mut dice = Dice(1000 + seed);
        let kinds = SETS[dice.below(SETS.len())];
        let (rows, cols) = SIZES[dice.below(SIZES.len())];
        let mut model = Model::new(rows, cols, 0);
        let mut second = Model::new(rows, cols, 0);
        let mut fed = Vec::new();
        let mut base = model.snapshot();
        for _ in 0..6 {
            let pieces = 1 + dice.below(40);
            let bytes = stream(&mut dice, kinds, pieces);
            model.feed(&bytes);
            let want = model.snapshot();
            let paint = diff(&base, &want, (rows, cols));
            second.feed(&paint);
            assert_same(&second.snapshot(), &want, &|| {
                format!(
                    "seed {seed} {rows}x{cols}\n{}\nnow {}\n-> {}",
                    shown(&fed),
                    shown(&bytes),
                    shown(&paint)
                )
            });
            assert_eq!(shown(&diff(&want, &want, (rows, cols))), "", "seed {seed}");
            fed.extend_from_slice(&bytes);
            base = want;
        }
    }
}

#[test]
fn draw_and_undraw_leave_nothing_behind() {
    for seed in 0..300 {
        let mut dice = Dice(5000 + seed);
        let kinds = SETS[dice.below(SETS.len())];
        let (rows, cols) = SIZES[dice.below(SIZES.len())];
        let bytes = stream(&mut dice, kinds, 60);
        let mut model = Model::new(rows, cols, 0);
        model.feed(&bytes);
        let want = model.snapshot();
        let cells: Vec<(usize, usize)> = (0..1 + dice.below(4))
            .map(|_| (dice.below(rows), dice.below(cols)))
            .collect();
        let drawn: Vec<Drawn> = cells
            .iter()
            .map(|&(row, col)| Drawn {
                row,
                col,
                text: "q".into(),
                look: if dice.below(2) == 0 {
                    Look::Beside
                } else {
                    Look::Of(Style::default())
                },
                underline: dice.below(2) == 0,
            })
            .collect();
        let mut second = Model::new(rows, cols, 0);
        second.feed(&bytes);
        let draw = overlay::draw(&want, None, &drawn, Some((0, 1)));
        second.feed(&draw);
        for &(row, col) in &cells {
            assert_eq!(
                second.snapshot().lines[row].cells[col].c,
                'q',
                "seed {seed}"
            );
        }
        let undraw = overlay::undraw(&want, Some((0, 1)), &cells);
        let covered = dice.below(rows);
        let bar: Vec<(usize, usize)> = (0..cols).map(|col| (covered, col)).collect();
        second.feed(&undraw);
        assert_same(&second.snapshot(), &want, &|| {
            format!(
                "seed {seed} {rows}x{cols} {cells:?}\n{}\ndraw {}\nundraw {}",
                shown(&bytes),
                shown(&draw),
                shown(&undraw)
            )
        });
        let undraw = overlay::undraw(&want, None, &bar);
        second.feed(&undraw);
        assert_same(&second.snapshot(), &want, &|| {
            format!(
                "seed {seed} {rows}x{cols} row {covered}\n{}\nundraw {}",
                shown(&bytes),
                shown(&undraw)
            )
        });
    }
}

fn step(before: &str, after: &str) -> String {
    let mut model = Model::new(6, 40, 0);
    model.feed(before.as_bytes());
    let base = model.snapshot();
    model.feed(after.as_bytes());
    shown(&diff(&base, &model.snapshot(), (6, 40)))
}

#[test]
fn small_changes_are_small() {
    assert_eq!(step("$ l", "s"), "s");
    assert_eq!(step("$ ls", "\x08 \x08"), "\\u{8}\\u{1b}[K");
    assert_eq!(step("$ ls", "\r\nout\r\n$ "), "\\r\\nout\\r\\n$\\u{1b}[C");
    assert_eq!(step("plain", "\x1b[?2004h"), "\\u{1b}[?2004h");
    assert_eq!(step("text", "\x1b[1m"), "\\u{1b}[1m");
}

#[test]
fn scrolled_text_is_moved_not_drawn() {
    let lines: String = (0..6)
        .map(|n| format!("\r\nline {n} with some text in it"))
        .collect();
    let paint = step(&lines, "\r\nnew");
    assert_eq!(paint, "\\r\\nnew");
    let paint = step(&lines, "\x1b[2;5r\x1b[5;1H\n\x1b[r\x1b[6;30H");
    assert!(paint.len() < 60, "{paint}");
    // Blank rows are no reason to scroll.
    let paint = step("top", "\x1b[4;1Hx");
    assert!(
        !paint.contains('r') && !paint.contains("\\n\\n\\n"),
        "{paint}"
    );
}

#[test]
fn one_drawn_cell_is_one_byte() {
    let mut model = Model::new(6, 40, 0);
    model.feed(b"$ ls");
    let cell = |text: &str| Drawn {
        row: 0,
        col: 4,
        text: text.into(),
        look: Look::Beside,
        underline: false,
    };
    let screen = model.snapshot();
    assert_eq!(
        overlay::draw(&screen, None, &[cell("x")], Some((0, 5))),
        b"x"
    );
    assert_eq!(overlay::draw(&screen, None, &[cell("x")], None), b"x\x08");
}

#[test]
fn painted_history_scrolls_into_the_terminal() {
    let mut model = Model::new(4, 20, 100);
    for n in 0..30 {
        model.feed(format!("line {n}\r\n").as_bytes());
    }
    model.feed(&[b'w'; 130]);
    let want = model.snapshot();
    let from = model.history_first() + 3;
    let lines = model.history(from, model.history_end(), 1 << 20);
    let mut second = Model::new(4, 20, 100);
    second.feed(&full(&want, (4, 20), &lines, "-- gap --"));
    assert_same(&second.snapshot(), &want, &String::new);
    let got = second.history(0, second.history_end(), 1 << 20);
    assert_eq!(got[0].text, b"\x1b[2m-- gap --\x1b[m");
    assert_eq!(got[1..], lines);
}

#[test]
fn a_wide_character_that_did_not_fit_leaves_nothing_of_the_old_text() {
    let mut model = Model::new(4, 5, 0);
    model.feed(b"abcde");
    let base = model.snapshot();
    model.feed("\x1b[Habcd日".as_bytes());
    let want = model.snapshot();
    let mut second = Model::new(4, 5, 0);
    second.feed(b"abcde");
    second.feed(&diff(&base, &want, (4, 5)));
    assert_eq!(second.snapshot().lines[0].cells[4].c, ' ');
    assert!(second.snapshot().lines[0].filler);
    assert_same(&second.snapshot(), &want, &String::new);
}

/// The picture stands in the upper left corner of a larger window, and nothing beside it.
fn assert_in_corner(got: &Snapshot, want: &Snapshot, why: &dyn Fn() -> String) {
    for (row, line) in got.lines.iter().enumerate() {
        let end = match want.lines.get(row) {
            Some(want) => {
                let (seen, wanted) = (&line.cells[..want.cells.len()], &want.cells[..]);
                assert_eq!(seen, wanted, "row {row} {}", why());
                want.cells.len()
            }
            None => 0,
        };
        assert!(line.len <= end, "row {row} has more {}", why());
    }
    let place = |screen: &Snapshot| (screen.cursor.row, screen.cursor.col);
    assert_eq!(place(got), place(want), "cursor {}", why());
    assert_eq!(got.cursor.pen, want.cursor.pen, "pen {}", why());
    assert_eq!(got.alternate(), want.alternate(), "alternate {}", why());
    if let (Some(got), Some(want)) = (&got.main, &want.main) {
        for (row, (got, want)) in got.lines.iter().zip(&want.lines).enumerate() {
            assert_eq!(
                got.cells[..want.cells.len()],
                want.cells[..],
                "main row {row} {}",
                why()
            );
            assert!(
                got.len <= want.cells.len(),
                "main row {row} has more {}",
                why()
            );
        }
    }
}

#[test]
fn a_larger_window_shows_the_picture_in_its_corner() {
    for seed in 0..600 {
        let mut dice = Dice(9000 + seed);
        let kinds = SETS[dice.below(SETS.len())];
        let (rows, cols) = SIZES[dice.below(SIZES.len())];
        let window = (rows + dice.below(4), cols + dice.below(5));
        let mut model = Model::new(rows, cols, 0);
        let mut second = Model::new(window.0, window.1, 0);
        // What was there before is gone, whatever it was.
        second.feed(&stream(
            &mut dice,
            &[Kind::Moves, Kind::Unicode, Kind::Colour],
            40,
        ));
        let mut base: Option<Snapshot> = None;
        let mut fed = Vec::new();
        for _ in 0..6 {
            let pieces = 1 + dice.below(40);
            let bytes = stream(&mut dice, kinds, pieces);
            model.feed(&bytes);
            let want = model.snapshot();
            let paint = match &base {
                None => full(&want, window, &[], ""),
                Some(base) => diff(base, &want, window),
            };
            second.feed(&paint);
            assert_in_corner(&second.snapshot(), &want, &|| {
                format!(
                    "seed {seed} {rows}x{cols} in {window:?}\n{}\nnow {}\n-> {}",
                    shown(&fed),
                    shown(&bytes),
                    shown(&paint)
                )
            });
            fed.extend_from_slice(&bytes);
            base = Some(want);
        }
    }
}

#[test]
fn history_scrolls_out_of_a_larger_window_too() {
    let mut model = Model::new(4, 20, 100);
    for n in 0..30 {
        model.feed(format!("line {n}\r\n").as_bytes());
    }
    model.feed(&[b'w'; 130]);
    let want = model.snapshot();
    let lines = model.history(model.history_first(), model.history_end(), 1 << 20);
    for window in [(4, 30), (9, 20), (9, 30)] {
        let mut second = Model::new(window.0, window.1, 100);
        second.feed(&full(&want, window, &lines, "-- gap --"));
        assert_in_corner(&second.snapshot(), &want, &|| format!("{window:?}"));
        let got = second.history(0, second.history_end(), 1 << 20);
        assert_eq!(got[0].text, b"\x1b[2m-- gap --\x1b[m");
        assert_eq!(got[1..31], lines[..30], "{window:?}");
        let text = |lines: &[HistoryLine]| {
            lines
                .iter()
                .flat_map(|line| line.text.clone())
                .collect::<Vec<u8>>()
        };
        assert_eq!(text(&got[1..]), text(&lines), "{window:?}");
    }
    let mut row = Model::new(1, 20, 100);
    row.feed(b"line\r\nlast");
    let want = row.snapshot();
    let mut second = Model::new(3, 20, 100);
    second.feed(&full(&want, (3, 20), &row.history(0, 1, 1 << 20), ""));
    assert_in_corner(&second.snapshot(), &want, &String::new);
}

/// A second model must follow these pieces by differences, and each by a full painting with the history.
fn follows(rows: usize, cols: usize, pieces: &[&str]) {
    let mut model = Model::new(rows, cols, 100);
    let mut second = Model::new(rows, cols, 100);
    let mut base = model.snapshot();
    for piece in pieces {
        model.feed(piece.as_bytes());
        let want = model.snapshot();
        let paint = diff(&base, &want, (rows, cols));
        second.feed(&paint);
        assert_same(&second.snapshot(), &want, &|| shown(&paint));
        let past = model.history(0, model.history_end(), 1 << 20);
        let paint = full(&want, (rows, cols), &past, "marker");
        let mut fresh = Model::new(rows, cols, 100);
        fresh.feed(&paint);
        assert_same(&fresh.snapshot(), &want, &|| shown(&paint));
        base = want;
    }
}

#[test]
fn a_wide_character_before_the_cursor_stays_whole() {
    follows(3, 6, &["\u{6f22}\x08", "\x1b[C\u{6f22}"]);
}

#[test]
fn a_blank_row_that_continues_another_takes_its_place() {
    follows(4, 5, &["top\r\n\n\n\n\x1b[H          \x1b[4;1Hend"]);
}

#[test]
fn history_of_another_width_does_not_shift_the_screen() {
    let mut model = Model::new(3, 7, 100);
    model.feed(&[b'a'; 200]);
    model.resize(3, 5);
    model.feed(&[b'b'; 33]);
    let want = model.snapshot();
    let past = model.history(0, model.history_end(), 1 << 20);
    for first in 0..past.len() {
        let mut second = Model::new(3, 5, 100);
        let paint = full(&want, (3, 5), &past[first..], "");
        second.feed(&paint);
        assert_same(&second.snapshot(), &want, &|| {
            format!("{first} {}", shown(&paint))
        });
    }
}

#[test]
fn wide_characters_on_two_columns_stay_joined() {
    let mut model = Model::new(5, 2, 0);
    model.feed("\u{6f22}".repeat(4).as_bytes());
    let want = model.snapshot();
    let mut second = Model::new(5, 2, 0);
    second.feed("\u{6f22}".repeat(4).as_bytes());
    second.feed(&overlay::undraw(&want, None, &[(1, 1)]));
    assert_same(&second.snapshot(), &want, &String::new);
}
