"""The measuring screen draws what a terminal draws, however its bytes arrive."""

from __future__ import annotations

import random

import pytest

from bench.screen_tracker import Screen


def drawn(data: bytes, rows: int = 4, columns: int = 10) -> Screen:
    screen = Screen(rows, columns)
    screen.feed(data)
    return screen


@pytest.mark.parametrize(
    ("data", "lines", "cursor"),
    [
        (b"ab\r\ncd", ["ab", "cd", "", ""], (1, 2)),
        (b"0123456789x", ["0123456789", "x", "", ""], (1, 1)),
        (b"1\r\n2\r\n3\r\n4\r\n5", ["2", "3", "4", "5"], (3, 1)),
        (b"\x1b[2;3Hx\x1b[Ay", ["   y", "  x", "", ""], (0, 4)),
        (b"abcdef\x1b[3D\x1b[K", ["abc", "", "", ""], (0, 3)),
        (b"abcdef\r\x1b[2P\x1b[@", [" cdef", "", "", ""], (0, 0)),
        (b"1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[2;1H\x1b[M", ["1", "3", "", "4"], (1, 0)),
        (b"main\x1b[?1049hother\x1b[?1049l", ["main", "", "", ""], (0, 4)),
        ("日本\b\bx".encode(), ["日x", "", "", ""], (0, 3)),
        (b"\x1b]0;title\x07a\x1bPq...\x1b\\b", ["ab", "", "", ""], (0, 2)),
        (b"-\x1b[4b", ["-----", "", "", ""], (0, 5)),
    ],
)
def test_sequences(data: bytes, lines: list[str], cursor: tuple[int, int]) -> None:
    screen = drawn(data)
    assert (screen.lines(), (screen.row, screen.column)) == (lines, cursor)


def test_a_flood_that_is_not_drawn_leaves_the_same_screen_as_one_that_is() -> None:
    chance = random.Random(1)
    parts = [
        b"line %d\r\n",
        b"a much longer line %d\r\n",
        b"\x1b[31mred %d\r\n",
        b"%d",
        b"\x1b[2;3r",
        b"\x1b[r",
    ]
    for _ in range(50):
        data = b"".join(
            (part % number if b"%d" in part else part)
            for number in range(60)
            for part in [chance.choices(parts, (20, 5, 1, 1, 1, 1))[0]]
        )
        whole, single = drawn(data), Screen(4, 10)
        for at in range(len(data)):
            single.feed(data[at : at + 1])
        assert whole.lines() == single.lines()
        assert (whole.row, whole.column) == (single.row, single.column)


def test_queries_are_answered() -> None:
    assert drawn(b"ab\x1b[6n\x1b[c").replies == [b"\x1b[1;3R", b"\x1b[?62;22c"]
