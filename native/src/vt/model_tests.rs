//! Limits, history and recovery of the model.

use std::time::{Duration, Instant};

use super::super::snapshot::BLINK;
use super::Model;

fn text(model: &mut Model) -> Vec<String> {
    let screen = model.snapshot();
    screen
        .lines
        .iter()
        .map(|row| {
            row.cells
                .iter()
                .map(|cell| cell.c)
                .collect::<String>()
                .trim_end()
                .to_owned()
        })
        .collect()
}

fn past(model: &Model) -> Vec<String> {
    model
        .history(0, model.history_end(), usize::MAX)
        .into_iter()
        .map(|line| String::from_utf8(line.text).unwrap())
        .collect()
}

#[test]
fn every_line_that_leaves_the_top_is_kept_once_and_in_order() {
    let mut bytes = Vec::new();
    for n in 0..5000 {
        bytes.extend_from_slice(format!("line {n}\r\n").as_bytes());
    }
    let mut model = Model::new(24, 80, 10_000);
    // One feed that scrolls hundreds of screens, and odd pieces.
    model.feed(&bytes[..30_000]);
    for piece in bytes[30_000..].chunks(777) {
        model.feed(piece);
    }
    let mut all = past(&model);
    all.extend(text(&mut model));
    let want: Vec<String> = (0..5000)
        .map(|n| format!("line {n}"))
        .chain([String::new()])
        .collect();
    assert_eq!(all, want);
    assert_eq!(model.history_end(), 5001 - 24);
}

#[test]
fn all_ways_to_scroll_are_history() {
    let mut model = Model::new(3, 4, 100);
    model.feed(b"a\r\nb\r\nc\x1bD"); // IND
    model.feed(b"\x1b[2S"); // SU
    model.feed(b"\x1b[Hdddd\x1b[3;1Heeee"); // a full last row ...
    model.feed(b"f"); // ... that wraps
    model.feed(b"\x1b[Hgg\x1b[2J");
    assert_eq!(past(&model), ["a", "b", "c", "dddd", "gg", "eeee", "f"]);
    model.feed(b"\x1b[2;3rx\r\n\r\n\r\n\r\n\x1b[?1049hy\r\n\r\n\r\n\r\n");
    assert_eq!(
        model.history_end(),
        7,
        "inner regions and the alternate screen have no history"
    );
}

#[test]
fn lines_not_kept_are_still_counted() {
    let mut model = Model::new(2, 10, 0);
    model.feed(&b"x\r\n".repeat(50));
    assert_eq!((model.history_first(), model.history_end()), (49, 49));
    assert!(model.history(0, 49, 1000).is_empty());
}

#[test]
fn shrinking_pushes_lines_into_history_growing_keeps_all() {
    let mut model = Model::new(10, 20, 1000);
    for n in 0..9 {
        model.feed(format!("row {n} abcdefghij\r\n").as_bytes());
    }
    model.resize(3, 7);
    model.resize(10, 20);
    let mut all = past(&model).concat();
    all.extend(text(&mut model));
    for n in 0..9 {
        let row = format!("row{n}abcdefghij");
        assert!(all.replace(' ', "").contains(&row), "{n}: {all}");
    }
}

#[test]
fn the_main_screen_is_reflowed_behind_the_alternate_one() {
    let mut model = Model::new(5, 20, 100);
    model.feed(b"0123456789abcdef\r\n$ \x1b[?1049h\x1b[HALT");
    model.resize(5, 8);
    assert_eq!(text(&mut model)[0], "ALT");
    assert!(model.alternate());
    model.feed(b"\x1b[?1049l");
    assert_eq!(past(&model), ["01234567"]);
    assert_eq!(text(&mut model)[..2], ["89abcdef", "$"]);
}

#[test]
fn sizes_are_clamped() {
    for (asked, got) in [
        ((1, 1), (1, 2)),
        ((0, 0), (1, 2)),
        ((65535, 65535), (250, 1000)),
        ((usize::MAX, 2), (500, 2)),
    ] {
        let mut model = Model::new(24, 80, 10);
        model.feed("日本語 wide text".as_bytes());
        model.resize(asked.0, asked.1);
        assert_eq!((model.rows(), model.cols()), got);
        model.feed("日本語\r\n".as_bytes());
    }
}

#[test]
fn hostile_input_is_bounded_in_time_and_memory() {
    let mut attacks: Vec<Vec<u8>> = vec![
        b"\x1b[>1u".repeat(5000),
        b"\x1b[22t\x1b]2;title\x07".repeat(20_000),
        format!("a{}", "\u{301}".repeat(200_000)).into_bytes(),
        [&b"\x1b]0;"[..], &b"x".repeat(300_000)].concat(),
    ];
    for letter in "bLM@PSTXIZABCDEF".chars() {
        attacks.push(format!("x\x1b[65535{letter}").repeat(20).into_bytes());
    }
    for attack in attacks {
        let begun = Instant::now();
        let mut model = Model::new(24, 80, 100);
        model.feed(&attack);
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(model.memory_bytes() < 2_000_000);
    }
    let mut model = Model::new(24, 2, 100);
    model.feed("日本語".repeat(500).as_bytes());
    for (rows, cols) in [(1, 1), (5, 2), (1, 65535), (65535, 1), (24, 80)] {
        model.resize(rows, cols);
        model.feed("語x".repeat(50).as_bytes());
    }
    assert_eq!(
        model.term().grid()[alacritty_terminal::index::Line(0)].len(),
        80
    );
}

#[test]
fn marks_on_one_cell_are_limited() {
    let mut model = Model::new(2, 10, 0);
    model.feed(format!("a{}", "\u{301}".repeat(50)).as_bytes());
    let row = model.row(0).unwrap();
    assert_eq!(row.cells[0].zerowidth().unwrap().len(), 8);
}

#[test]
fn kitty_stacks_are_kept_per_screen_and_bounded() {
    let mut model = Model::new(5, 20, 0);
    model.feed(&b"\x1b[>1u".repeat(5000));
    assert_eq!(model.tracked().modes.kitty.pushed.len(), 16);
    model.feed(b"\x1b[?1049h\x1b[>5u");
    assert_eq!(model.tracked().modes.kitty.flags(), 5);
    model.feed(b"\x1b[?1049l\x1b[<20u");
    assert_eq!(model.tracked().modes.kitty.flags(), 0);
}

#[test]
fn queries_are_answered_with_the_state_at_their_place() {
    let mut model = Model::new(5, 20, 0);
    let events = model.feed(b"abc\x1b[6n\x1b[2;2H\x1b[6n\x1b[?2004h\x1b[?2004$p\x07");
    let got: Vec<(&str, &[u8])> = events
        .iter()
        .map(|event| (event.kind, &event.data[..]))
        .collect();
    assert_eq!(
        got,
        [
            ("query", &b"\x1b[1;4R"[..]),
            ("query", b"\x1b[2;2R"),
            ("query", b"\x1b[?2004;1$y"),
            ("bell", b"\x07"),
        ]
    );
}

#[test]
fn a_panic_costs_one_step_and_not_the_screen() {
    let mut model = Model::new(5, 20, 100);
    model.feed(b"kept\r\n\x1b[1mtext\x1b[?2004h");
    model.guard = None;
    model.feed(b".");
    // The grid is made inconsistent, as a bug in it might do.
    model.term().grid_mut().cursor.point.line = alacritty_terminal::index::Line(4000);
    let events = model.feed(b"boom");
    assert_eq!(events[0].kind, "rebuilt");
    assert_eq!(text(&mut model)[..2], ["kept", "text"]);
    assert!(model.tracked().modes.paste);
    model.feed(b"\r\nmore");
    assert_eq!(text(&mut model)[2], "more");
}

#[test]
fn an_idle_screen_is_small() {
    let model = Model::new(24, 80, 10_000);
    assert!(model.memory_bytes() < 300_000, "{}", model.memory_bytes());
}

#[test]
fn a_character_repeated_for_ever_costs_a_screenful() {
    let mut model = Model::new(24, 80, 0);
    let began = std::time::Instant::now();
    for _ in 0..2_000 {
        model.feed(b"x\x1b[65535b");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(8));
    let (mut few, mut many) = (Model::new(24, 80, 0), Model::new(24, 80, 0));
    few.feed(b"x");
    for _ in 0..65_535 {
        few.feed(b"x");
    }
    many.feed(b"x\x1b[65535b");
    assert_eq!(text(&mut few), text(&mut many));
}

#[test]
fn a_very_narrow_window_costs_little() {
    let mut model = Model::new(250, 1000, 0);
    let line = [b'x'; 1000];
    let began = std::time::Instant::now();
    for _ in 0..2 {
        for _ in 0..250 {
            model.feed(&line);
        }
        model.resize(500, 2);
        model.resize(250, 1000);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(8));
}

fn place(model: &Model) -> (usize, usize) {
    (model.cursor().row, model.cursor().col)
}

#[test]
fn a_column_is_no_row_in_origin_mode() {
    let mut model = Model::new(10, 20, 0);
    model.feed(b"\x1b[3;8r\x1b[?6h\x1b[2;2H\x1b[5G");
    assert_eq!(place(&model), (3, 4));
    model.feed(b"\x1b[9A");
    assert_eq!(place(&model), (2, 4));
    model.feed(b"\x1b[2B");
    assert_eq!(place(&model), (4, 4));
    model.feed(b"\x1b[9E");
    assert_eq!(place(&model), (7, 0));
    model.feed(b"\x1b[?6l");
    assert_eq!(place(&model), (0, 0));
}

#[test]
fn up_and_down_stay_inside_the_region_and_outside_of_it() {
    let mut model = Model::new(10, 20, 0);
    model.feed(b"\x1b[3;8r\x1b[5;4H\x1b[9A");
    assert_eq!(place(&model), (2, 3));
    model.feed(b"\x1b[9B");
    assert_eq!(place(&model), (7, 3));
    model.feed(b"\x1b[2H\x1b[9F");
    assert_eq!(place(&model), (0, 0));
    model.feed(b"\x1b[9H\x1b[9B");
    assert_eq!(place(&model), (9, 0));
}

#[test]
fn origin_mode_is_saved_with_the_cursor() {
    let mut model = Model::new(10, 20, 0);
    model.feed(b"\x1b[?6h\x1b[2H\x1b7\x1b[?6l\x1b[5;8r\x1b8");
    assert!(model.tracked().modes.origin);
    assert_eq!(place(&model).0, 4, "inside the region");
    model.feed(b"\x1b[?6l\x1b[9H\x1b[?1049h\x1b[?6h\x1b[?1049l");
    assert!(!model.tracked().modes.origin);
    assert_eq!(place(&model).0, 8);
}

#[test]
fn a_soft_reset_leaves_the_text_and_the_place() {
    let mut model = Model::new(10, 20, 0);
    model.feed(b"\x1b[2;5r\x1b[?6h\x1b[4h\x1b[?7l\x1b[?25l\x1b[?1h\x1b=\x1b[31;5m\x1b(0\x0e\x1b[2;3Htext\x1b7");
    let before = (place(&model), text(&mut model));
    model.feed(b"\x1b[!p");
    assert_eq!((place(&model), text(&mut model)), before);
    let got = model.snapshot();
    let fresh = Model::new(10, 20, 0).snapshot();
    assert_eq!(got.modes, fresh.modes);
    assert_eq!(got.saved, fresh.saved);
    assert_eq!(got.cursor.pen, fresh.cursor.pen);
    assert_eq!(
        (got.cursor.charsets, got.cursor.charset),
        (fresh.cursor.charsets, fresh.cursor.charset)
    );
    model.feed(b"q");
    assert!(
        text(&mut model).concat().ends_with('q'),
        "ASCII, not drawn lines"
    );
}

#[test]
fn blinking_is_an_attribute() {
    let mut model = Model::new(2, 20, 0);
    model.feed(b"\x1b[5;1ma\x1b[25mb\x1b[6mc\x1b[md");
    let row = model.row(0).unwrap();
    let blinks: Vec<bool> = row.cells[..4]
        .iter()
        .map(|cell| cell.flags.contains(BLINK))
        .collect();
    assert_eq!(blinks, [true, false, true, false]);
}
