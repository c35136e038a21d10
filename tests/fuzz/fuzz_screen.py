"""Invariant: whatever a program puts out, the model and another that is fed its paintings never raise and stay bounded.

That paintings bring the other to the same rows is tested in native/src/vt/painter_tests.rs, on well-formed streams.

The first bytes are the size and how the rest is cut; between the pieces the model is resized, drawn on and painted.
"""

from __future__ import annotations

from qsh.terminal.screen import Screen

__all__ = ["fuzz_one"]

MEMORY_MAX = 48 << 20
HISTORY = 200
SEEDS = (
    b"\x04\x0a\x05plain\r\nlines\r\n\x1b[31mred\x1b[m\x1b[2J\x1b[Hhome",
    b"\x18\x50\x20\x1b[?1049h\x1b[3;9r\x1b[?6h\x1bM\x1b[2L\x1b[?1049l\x1b[4h\x1b(0lqk\x1b(B",
    "\x05\x08\x03漢字e\u0301\u200d👩‍👧\x1b[20b\x1b[99999999b".encode(),
    b"\x03\x07\x09\x1b]8;;http://x\x07link\x1b]8;;\x07\x1b]2;t\x07\x1b]52;c;QQ==\x07\x1bP1q~\x1b\\",
    b"\x02\x05\x04\x1b[>1u\x1b[<u\x1b[c\x1b[6n\x1b[?2026h\x1b7\x1b[s\x1b8\x1b[u\x1bc\x1b[!p",
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
            screen.draw([(piece[0] % rows, piece[-1] % cols, "x", -1, True)], (0, 0))
            screen.undraw([(piece[0] % rows, piece[-1] % cols)])
        if number % 5 == 4:
            screen.resize(piece[0], piece[-1])
        if (far.rows, far.cols) != (screen.rows, screen.cols):
            far, base = Screen(screen.rows, screen.cols), None
        far.feed(screen.paint() if base is None else screen.paint_from(base))
        base = screen.snapshot()
    fresh = Screen(screen.rows, screen.cols, history_lines=HISTORY)
    fresh.feed(screen.paint(screen.history_first, "marker"))
    assert max(screen.memory_bytes, far.memory_bytes, fresh.memory_bytes) < MEMORY_MAX
