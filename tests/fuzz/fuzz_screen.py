"""Invariant: whatever a program puts out, another model that is fed the paintings shows the same cells, cursor and modes.

None raises, and memory is bounded.

The first bytes are the size and how the rest is cut; between the pieces the model is resized, drawn on and painted.
"""

from __future__ import annotations

from qsh.terminal.screen import MODE_STRING, MODE_SYNC, Screen

__all__ = ["fuzz_one"]

MEMORY_MAX = 48 << 20
HISTORY = 200
UNPAINTED = MODE_SYNC | MODE_STRING
"""Of what is still under way, not of the screen."""
SEEDS = (
    b"\x04\x0a\x05plain\r\nlines\r\n\x1b[31mred\x1b[m\x1b[2J\x1b[Hhome",
    b"\x18\x50\x20\x1b[?1049h\x1b[3;9r\x1b[?6h\x1bM\x1b[2L\x1b[?1049l\x1b[4h\x1b(0lqk\x1b(B",
    "\x05\x08\x03漢字e\u0301\u200d👩‍👧\x1b[20b\x1b[99999999b".encode(),
    b"\x03\x07\x09\x1b]8;;http://x\x07link\x1b]8;;\x07\x1b]2;t\x07\x1b]52;c;QQ==\x07\x1bP1q~\x1b\\",
    b"\x02\x05\x04\x1b[>1u\x1b[<u\x1b[c\x1b[6n\x1b[?2026h\x1b7\x1b[s\x1b8\x1b[u\x1bc\x1b[!p",
    b"\x04\x0a\x05\x1b[4;31;1m\x1b[2;3r\x1b[?6h\x1b7\x1b[5;10Habc\x1b8\x1b[?7l\x1b[5mx\x1b[!p\x1b[20hq\x1bD\x1bE\x1bH\t\x1b[Z",
    "\x03\x05\x02abcdef漢\x1b[K\x1b[1;5H字\x08x\x1b[P\x1b[@\x1b[3X\x1b[J".encode(),
    b"\x05\x06\x04\x1b[?1049h\x1b[?47l\x1b[?1047h\x1b[?1048h\x1b#8\x1b[2;4r\x1b[L\x1b[M\x1b[S\x1b[T\x0e\x1b)0\x0f",
)


def fuzz_one(data: bytes) -> None:
    """One input."""
    head, data = data[:3].ljust(3, b"\x08"), data[3:]
    rows, cols, step = head[0] % 60 + 1, head[1] % 200 + 1, head[2] + 1
    screen = Screen(rows, cols, history_lines=HISTORY)
    far = Screen(screen.rows, screen.cols)
    base = None
    for number, at in enumerate(range(0, len(data), step * 8)):
        piece = data[at : at + step * 8]
        screen.feed(piece)
        if number % 3 == 1:
            place = piece[0] % screen.rows, piece[-1] % screen.cols
            there = Screen(screen.rows, screen.cols)
            there.feed(screen.paint())
            there.feed(screen.draw([(*place, "x", -1, True)], (0, 0)))
            there.feed(screen.undraw([place]))
            assert_same(there, screen)
        if number % 5 == 4:
            screen.resize(piece[0], piece[-1])
        if (far.rows, far.cols) != (screen.rows, screen.cols):
            far, base = Screen(screen.rows, screen.cols), None
        far.feed(screen.paint() if base is None else screen.paint_from(base))
        base = screen.snapshot()
        assert_same(far, screen)
    fresh = Screen(screen.rows, screen.cols, history_lines=HISTORY)
    fresh.feed(screen.paint(screen.history_first, "marker"))
    assert_same(fresh, screen)
    large = Screen(screen.rows + 1, screen.cols + 2, history_lines=HISTORY)
    if (large.rows, large.cols) == (screen.rows + 1, screen.cols + 2):  # sizes have limits
        large.feed(screen.paint(screen.history_first, "marker", window=(large.rows, large.cols)))
        for row in range(screen.rows):
            assert large.row_cells(row, 0, screen.cols) == screen.row_cells(row), f"row {row}"
            assert large.row_end(row) <= screen.cols
        assert large.row_end(screen.rows) == 0
        assert large.cursor[:2] == screen.cursor[:2]
    assert max(screen.memory_bytes, far.memory_bytes, fresh.memory_bytes) < MEMORY_MAX


def assert_same(got: Screen, wanted: Screen) -> None:
    """Both show the same."""
    row, _, pending, _ = wanted.cursor
    for each in range(wanted.rows):
        assert got.row_cells(each) == wanted.row_cells(each), f"row {each}"
        # no terminal can be told both: that the line goes on and that it is about to
        if each + 1 < wanted.rows and not (pending and each == row):
            assert got.row_wrapped(each) == wanted.row_wrapped(each), f"wrap of row {each}"
    assert got.cursor == wanted.cursor
    assert got.modes & ~UNPAINTED == wanted.modes & ~UNPAINTED
    assert got.title == wanted.title
