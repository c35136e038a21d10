//! The way past the grid must be the same as through it.

use super::super::model::Model;
use super::{MIN_BYTES, last_lines, lines, piece, rows};

#[test]
fn lines_end_at_what_is_not_plain() {
    assert_eq!(lines(b"one\r\n\r\ntwo\r\nrest"), 12);
    for odd in [
        "\x1b[1mx\r\n",
        "\tx\r\n",
        "x\n",
        "x\rx\r\n",
        "\u{e9}\r\n",
        "\x7f\r\n",
        "x\r",
    ] {
        let data = format!("plain\r\n{odd}");
        assert_eq!(lines(data.as_bytes()), 7, "{odd:?}");
    }
}

#[test]
fn last_lines_are_whole_and_say_something() {
    assert_eq!(last_lines(b"a\r\nb\r\nc\r\n", 2), Some(3));
    assert_eq!(last_lines(b"a\r\nb\r\n", 2), None);
    assert_eq!(last_lines(b"a\r\nb\r\n\r\n\r\n", 2), None);
}

#[test]
fn a_piece_ends_with_a_line() {
    let mut data = vec![b'x'; 3000];
    assert_eq!(piece(&data), 3000);
    data[2500] = b'\n';
    assert_eq!(piece(&data), 2501);
}

#[test]
fn long_lines_make_several_rows() {
    let found: Vec<_> = rows(b"abcdefgh\r\n\r\nab  \r\nabcd    x\r\nabcd\r\n", 4).collect();
    let want: [(&[u8], bool); 8] = [
        (b"abcd", true),
        (b"efgh", false),
        (b"", false),
        (b"ab", false),
        (b"abcd", true),
        (b"    ", true),
        (b"x", false),
        (b"abcd", false),
    ];
    assert_eq!(found, want);
}

/// A small generator: tests need no better one.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Lines of every length around the width, among them things that are no plain lines.
fn flood(chance: &mut Chance, cols: u64, size: usize, odd_every: u64) -> Vec<u8> {
    const ODD: [&str; 16] = [
        "\x1b[31m",
        "\x1b[m",
        "\x1b[4h",
        "\x1b[4l",
        "\x1b[?7l",
        "\x1b[?7h",
        "\x1b[2;5r",
        "\x1b[r",
        "\x1b[?1049h",
        "\x1b[?1049l",
        "\x1b(0",
        "\x1b(B",
        "\t\u{4e2d}",
        "x\rover",
        "\x1b[3b",
        "\x1b[44m\x1b[K",
    ];
    let mut data = Vec::new();
    while data.len() < size {
        if chance.below(odd_every) == 0 {
            data.extend_from_slice(ODD[chance.below(16) as usize].as_bytes());
        }
        let length = chance.below(3 * cols + 2);
        data.extend((0..length).map(|_| b" abcdefg~"[chance.below(9) as usize]));
        data.extend_from_slice(b"\r\n");
    }
    data.extend_from_slice(b"end\x1b[2b");
    data
}

#[test]
fn what_passes_by_leaves_the_same_as_what_goes_through_the_grid() {
    let mut chance = Chance(7);
    for round in 0..60 {
        let (height, width) = (2 + chance.below(30), 2 + chance.below(90));
        let odd_every = [40, 400, 1 << 40][round % 3];
        let data = flood(&mut chance, width, 10 * MIN_BYTES, odd_every);
        let history = [0, 300, 5000][round / 3 % 3];
        let model = || Model::new(height as usize, width as usize, history);
        let (mut whole, mut pieces) = (model(), model());
        whole.feed(&data);
        for piece in data.chunks(MIN_BYTES / 4) {
            pieces.feed(piece);
        }
        assert_eq!(whole.offset(), pieces.offset());
        assert_eq!(whole.boundary(), pieces.boundary());
        assert_eq!(whole.history_end(), pieces.history_end());
        let past = |model: &Model| model.history(0, model.history_end(), usize::MAX);
        assert_eq!(past(&whole), past(&pieces));
        let (one, other) = (whole.snapshot(), pieces.snapshot());
        assert_eq!(
            super::super::painter::full(&one, (0, 0), &[], ""),
            super::super::painter::full(&other, (0, 0), &[], "")
        );
        assert!(super::super::painter::diff(&one, &other, (0, 0)).is_empty());
    }
}

#[test]
fn a_flood_takes_the_way_past_the_grid() {
    let mut model = Model::new(24, 80, 0);
    let data = b"y\r\n".repeat(20_000);
    model.feed(&data);
    assert_eq!(model.history_end(), 20_001 - 24);
    assert!(model.passed_by() > 50_000);
}
