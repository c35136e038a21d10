"""The notice of lost contact, on a real terminal: when it is gone, screen and history are as if it had never been."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.terminal.display import Display
from qsh.terminal.screen import Screen as Model
from tests.support.pty_screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS, COLS = 8, 30
PIECES = (
    b"short\r\n\r\nnext",
    b" word\r\n" + b"0123456789" * 7 + b"\r\n",
    b"\x1b[31mred to the end\x1b[m\r\n\x1b[44mblue\x1b[m\r\n",
    b"x" * COLS + b"\r\n" + b"y" * (COLS - 1) + b"\r\n",
    b"a" * (COLS - 1) + "漢 wraps\r\n".encode(),
    b"in two columns\x1b[20Gright\r\n",
    b"".join(b"line %d\r\n" % number for number in range(5)),
    b"".join(b"%d lines scroll by\r\n" % number for number in range(40)),
    b"the end\r\n",
)
NOTICES = ("no contact for 1 s", "no contact for 2 s; " + "why " * 20, "no contact for 3 s")


def undisturbed() -> Iterator[bytes]:
    yield from PIECES


def disturbed() -> Iterator[bytes]:
    """Each piece comes in two halves, with an outage after each."""
    display = Display(Model(ROWS, COLS))
    display.locate(0, 0, 0.0)
    at = 0
    for piece in PIECES:
        for part in (piece[: len(piece) // 2], piece[len(piece) // 2 :]):
            yield display.output(at, part, 0.0)
            at += len(part)
            for text in NOTICES:
                yield display.notice(text, 0.0)
            yield display.notice(None, 0.0)


@pytest.mark.tool("tmux")
def test_nothing_is_left_in_the_history(tmp_path: Path) -> None:
    seen = []
    for name, source in (("plain", undisturbed), ("notice", disturbed)):
        path = tmp_path / name
        path.write_bytes(b"".join((*source(), b"all shown")))
        argv = ["sh", "-c", 'stty raw; cat "$1"; exec sleep 1000', "sh", str(path)]
        with Screen(argv, columns=COLS, rows=ROWS) as screen:
            screen.wait_for("all shown")
            seen.append((screen.everything(), screen.lines()))
    assert b"no contact" in path.read_bytes()
    assert seen[1] == seen[0]
    assert len(seen[0][1]) > 50


def test_the_whole_row_is_covered() -> None:
    display = Display(Model(ROWS, COLS))
    display.locate(0, 0, 0.0)
    shown = Model(ROWS, COLS)
    text = b"z" * COLS + b"\r\n\r\nend"
    shown.feed(display.output(0, text, 0.0))
    shown.feed(display.notice("x" * (2 * COLS), 0.0))
    assert shown.row_text(0) == "x" * COLS
    shown.feed(display.notice("x", 0.0))
    assert shown.row_text(0).strip() == "x"
    shown.feed(display.notice(None, 0.0))
    assert shown.row_text(0) == "z" * COLS
