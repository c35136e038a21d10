use super::{BLOCK_LINES, History, Line, TOTAL_BYTES};

const ALL: usize = usize::MAX;

fn line(text: &str, wrapped: bool) -> Line {
    Line {
        text: text.as_bytes().to_vec(),
        wrapped,
    }
}

fn numbered(id: u64) -> Line {
    line(&format!("line \x1b[3{}m{id}\n", id % 8), id % 3 == 0)
}

fn log_line(id: u64) -> Line {
    let seed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = format!(
        "2026-03-0{} 12:{:02}:{:02}.{:03} INFO  worker-{} request {:08x} took {} ms status=200",
        1 + id % 9,
        id / 60 % 60,
        id % 60,
        seed % 1000,
        seed % 17,
        seed >> 32,
        seed % 913,
    );
    line(&text[..text.len().min(80)], false)
}

/// Bytes that do not compress, without any crate.
fn noise(seed: u64, len: usize) -> Line {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let text = (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect();
    Line {
        text,
        wrapped: seed % 2 == 0,
    }
}

#[test]
fn every_range_comes_back_as_it_was_pushed() {
    let count = 3 * BLOCK_LINES as u64 + 17;
    let mut history = History::new(100_000);
    for id in 0..count {
        history.push(numbered(id));
    }
    assert_eq!((history.first(), history.end()), (0, count));
    for first in [0, 1, 255, 256, 257, 511, 512, 700, 767, 768, 784, 785, 9999] {
        for end in [0, 1, 255, 256, 257, 600, 768, 785, u64::MAX] {
            let expected: Vec<Line> = (first..end.min(count)).map(numbered).collect();
            assert_eq!(history.lines(first, end, ALL), expected, "{first}..{end}");
        }
    }
}

#[test]
fn a_reader_gets_whole_lines_up_to_its_limit_and_always_gets_on() {
    let mut history = History::new(1000);
    for _ in 0..600 {
        history.push(line("0123456789", false));
    }
    assert_eq!(history.lines(0, 600, 99).len(), 9);
    assert_eq!(history.lines(0, 600, 100).len(), 10);
    assert_eq!(history.lines(250, 600, 200).len(), 20);
    assert_eq!(history.lines(595, 600, 200).len(), 5);
    assert_eq!(history.lines(3, 600, 0).len(), 1);
    assert_eq!(history.lines(3, 3, 0), []);
}

#[test]
fn a_long_line_does_not_let_later_ones_through() {
    let mut history = History::new(1000);
    for len in [1, 500, 1] {
        history.push(noise(len, len as usize));
        for _ in 1..BLOCK_LINES {
            history.push(line("", false));
        }
    }
    let lines = history.lines(0, 10_000, 100);
    assert_eq!(lines.len(), BLOCK_LINES);
}

#[test]
fn the_oldest_lines_are_forgotten_one_by_one() {
    let mut history = History::new(300);
    for id in 0..2000 {
        history.push(numbered(id));
        assert_eq!(history.end(), id + 1);
        assert_eq!(history.first(), (id + 1).saturating_sub(300));
    }
    let expected: Vec<Line> = (1700..2000).map(numbered).collect();
    assert_eq!(history.lines(0, u64::MAX, ALL), expected);
}

#[test]
fn a_limit_below_a_block_holds_too() {
    let mut history = History::new(5);
    for id in 0..700 {
        history.push(numbered(id));
    }
    let expected: Vec<Line> = (695..700).map(numbered).collect();
    assert_eq!(history.lines(0, 700, ALL), expected);
}

#[test]
fn without_a_limit_lines_are_only_counted() {
    let mut history = History::new(0);
    for id in 0..1000 {
        history.push(numbered(id));
    }
    assert_eq!((history.first(), history.end()), (1000, 1000));
    assert_eq!(history.lines(0, 1000, ALL), []);
    assert_eq!(history.memory_bytes(), 0);
}

#[test]
fn ids_go_on_after_clear() {
    let mut history = History::new(1000);
    for id in 0..400 {
        history.push(numbered(id));
    }
    history.clear();
    assert_eq!((history.first(), history.end()), (400, 400));
    assert_eq!(history.lines(0, 400, ALL), []);
    for id in 400..900 {
        history.push(numbered(id));
    }
    let expected: Vec<Line> = (400..900).map(numbered).collect();
    assert_eq!(history.lines(0, 900, ALL), expected);
}

#[test]
fn ten_thousand_log_lines_cost_less_than_half_a_mebibyte() {
    let mut history = History::new(10_000);
    for id in 0..20_000 {
        history.push(log_line(id));
    }
    assert_eq!(history.lines(0, u64::MAX, ALL).len(), 10_000);
    let bytes = history.memory_bytes();
    assert!(bytes < 512 << 10, "{bytes}");
}

#[test]
fn lines_that_do_not_compress_are_bounded_by_bytes() {
    let mut history = History::new(10_000);
    for id in 0..1000 {
        history.push(noise(id, 40_000));
        assert!(history.memory_bytes() < TOTAL_BYTES + (1 << 20));
    }
    let first = history.first();
    assert_eq!(history.end(), 1000);
    assert!((700..900).contains(&first), "{first}");
    let lines = history.lines(0, 1000, ALL);
    assert_eq!(lines.len() as u64, 1000 - first);
    assert_eq!(lines[0], noise(first, 40_000));
    assert_eq!(lines.last(), Some(&noise(999, 40_000)));
}

#[test]
fn a_line_beyond_every_limit_is_forgotten_at_once() {
    let mut history = History::new(10_000);
    history.push(line("before", false));
    history.push(noise(1, TOTAL_BYTES + 1));
    assert_eq!((history.first(), history.end()), (2, 2));
    assert!(history.memory_bytes() < 1 << 20);
    history.push(line("after", true));
    assert_eq!(history.lines(0, 3, ALL), [line("after", true)]);
}
