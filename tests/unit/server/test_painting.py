"""Paintings for one client: which lines of the history come with them."""

from __future__ import annotations

from qsh.server.painting import Painting
from qsh.server.terminal_model import TerminalModel

ROWS, COLS, LINES = 10, 40, 3_000


def test_an_exact_client_gets_every_line_however_slow_its_path() -> None:
    model = TerminalModel(ROWS, COLS)
    model.feed(0.0, b"".join(b"line %d\r\n" % number for number in range(LINES)))
    for exact in (True, False):
        painting = Painting(model)
        painting.begin(model.screen.history_first)
        drawn = painting.draw(0.0, 0, 100.0, final=True, window=(ROWS, COLS), exact=exact)
        assert drawn is not None
        text = b"".join(drawn.parts)
        assert (b"line 0\r\n" in text) == exact
        assert (b"lines skipped" in text) != exact
        assert (drawn.skipped_first, drawn.skipped_end) == ((0, 0) if exact else (0, LINES - 29))
