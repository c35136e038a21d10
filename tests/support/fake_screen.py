"""A terminal model in Python, small enough to be read: what tests of its users need while they do not test the model."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["FakeScreen"]

SEQUENCE: Final = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]]|[\x00-\x1f\x7f]|[^\x00-\x1f\x7f\x1b]+",
    re.S,
)
OPEN: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?\Z")


class FakeSnapshot:
    """Rows as text."""

    def __init__(self, screen: FakeScreen) -> None:
        self.offset, self.history_end = screen.offset, screen.history_end
        self.rows, self.cols, self.alternate = screen.rows, screen.cols, False
        self.text = list(screen.lines)
        self.cursor = screen.cursor[:2]


class FakeScreen:
    """Printable ASCII, CR, LF, clear, home, cursor position; DSR and DA as questions."""

    def __init__(self, rows: int, cols: int, *, history_lines: int = 0) -> None:
        self.rows, self.cols = min(max(rows, 1), 500), min(max(cols, 2), 1000)
        self.offset = self.boundary = 0
        self.modes = 0
        self.title = ""
        self.lines = [""] * self.rows
        self._row = self._col = 0
        self._open = b""
        self._gone: list[str] = []
        self.history_first = 0
        self._limit = history_lines

    @property
    def cursor(self) -> tuple[int, int, bool, bool]:
        return self._row, self._col, False, True

    @property
    def history_end(self) -> int:
        return self.history_first + len(self._gone)

    def feed(self, data: bytes) -> list[tuple[str, int, bytes]]:
        events: list[tuple[str, int, bytes]] = []
        data = self._open + data
        start = self.offset - len(self._open)
        at = 0
        opened = OPEN.search(data)
        end = opened.start() if opened else len(data)
        while at < end:
            found = SEQUENCE.match(data, at, end)
            if found is None:
                at += 1
                continue
            at = found.end()
            self._apply(found.group(), start + at, events)
        self._open = data[end:]
        self.offset = start + len(data)
        self.boundary = start + end
        return events

    def _apply(self, piece: bytes, offset: int, events: list[tuple[str, int, bytes]]) -> None:
        if piece == b"\r":
            self._col = 0
        elif piece == b"\n":
            self._line_feed()
        elif piece == b"\x08":
            self._col = max(0, self._col - 1)
        elif piece == b"\x07":
            events.append(("bell", offset, piece))
        elif piece == b"\x1b[6n":
            events.append(("query", offset, f"\x1b[{self._row + 1};{self._col + 1}R".encode()))
        elif piece == b"\x1b[c":
            events.append(("query", offset, b"\x1b[?62;22c"))
        elif piece.startswith(b"\x1b]52"):
            events.append(("clipboard", offset, piece))
        elif piece == b"\x1b[H":
            self._row = self._col = 0
        elif piece == b"\x1b[2J":
            self.lines = [""] * self.rows
        elif piece[0] >= 0x20 and piece[0] != 0x7F:
            for c in piece.decode(errors="replace"):
                self._put(c)

    def _put(self, c: str) -> None:
        if self._col >= self.cols:
            self._col = 0
            self._line_feed()
        line = self.lines[self._row].ljust(self._col)
        self.lines[self._row] = line[: self._col] + c + line[self._col + 1 :]
        self._col += 1

    def _line_feed(self) -> None:
        if self._row < self.rows - 1:
            self._row += 1
            return
        self._gone.append(self.lines.pop(0))
        self.lines.append("")
        if len(self._gone) > self._limit:
            self.history_first += len(self._gone) - self._limit
            del self._gone[: len(self._gone) - self._limit]

    def resize(self, rows: int, cols: int) -> None:
        rows, cols = min(max(rows, 1), 500), min(max(cols, 2), 1000)
        while len(self.lines) > rows and self._row >= rows:
            self._gone.append(self.lines.pop(0))
            self._row -= 1
        self.lines = [line[:cols] for line in self.lines[:rows]]
        self.lines += [""] * (rows - len(self.lines))
        self.rows, self.cols = rows, cols
        self._col = min(self._col, cols - 1)

    def row_text(self, row: int) -> str:
        return self.lines[row].rstrip()

    def snapshot(self) -> FakeSnapshot:
        return FakeSnapshot(self)

    def paint(self, history_from: int | None = None, marker: str = "") -> bytes:
        above = (
            [] if history_from is None else self._gone[max(0, history_from - self.history_first) :]
        )
        lines = ([marker] if marker else []) + above + self.lines
        text = "\r\n".join(lines)
        return f"\x1b[2J\x1b[H{text}\x1b[{self._row + 1};{self._col + 1}H".encode()

    def paint_from(self, base: FakeSnapshot) -> bytes:
        if base.text == self.lines and base.cursor == self.cursor[:2]:
            return b""
        return self.paint()

    def history(
        self, first: int, end: int, *, plain: bool = False, max_bytes: int = 1 << 20
    ) -> list[tuple[bytes, bool]]:
        found = self._gone[max(0, first - self.history_first) : max(0, end - self.history_first)]
        return [(line.encode(), False) for line in found]
