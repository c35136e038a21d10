"""A terminal in a few lines: what Screen promises, for text, cursor movement and ?2026."""

from __future__ import annotations

import re

__all__ = ["FakeScreen"]

_CSI = re.compile(rb"\x1b\[([?0-9;]*)([A-Za-z])")
_SYNC = 256
_INSERT = 4


class FakeScreen:
    """Prints ASCII, moves, scrolls; knows where an open sequence began."""

    def __init__(self, rows: int = 6, cols: int = 20) -> None:
        self.rows, self.cols = rows, cols
        self.offset = 0
        self.history_end = 0
        self.modes = 0
        self._open = b""
        self._reset()

    def _reset(self) -> None:
        self.grid = [[" "] * self.cols for _ in range(self.rows)]
        self.row = self.col = 0
        self.wrap = False
        self._saved = (0, 0)

    @property
    def boundary(self) -> int:
        return self.offset - len(self._open)

    @property
    def cursor(self) -> tuple[int, int, bool, bool]:
        return self.row, self.col, self.wrap, True

    @property
    def text(self) -> list[str]:
        return ["".join(row) for row in self.grid]

    def row_wrapped(self, row: int) -> bool:
        return False

    def skip_to(self, offset: int) -> None:
        self.offset, self._open = offset, b""

    def resize(self, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        self._reset()

    def feed(self, data: bytes) -> list[tuple[str, int, bytes]]:
        self.offset += len(data)
        if data.startswith(b"\x18"):  # CAN
            self._open = b""
        data, self._open = self._open + data, b""
        at = 0
        while at < len(data):
            byte = data[at]
            if byte == 0x1B:
                size = self._sequence(data[at:])
                if not size:
                    self._open = data[at:]
                    return []
                at += size
                continue
            at += 1
            self._plain(byte)
        return []

    def _plain(self, byte: int) -> None:
        if byte == 0x0D:
            self.col, self.wrap = 0, False
        elif byte == 0x0A:
            self._line()
        elif byte == 0x08:
            self.col, self.wrap = max(0, self.col - 1), False
        elif byte >= 0x20:
            if self.wrap:
                self.col, self.wrap = 0, False
                self._line()
            self.grid[self.row][self.col] = chr(byte)
            if self.col == self.cols - 1:
                self.wrap = True
            else:
                self.col += 1

    def _line(self) -> None:
        if self.row < self.rows - 1:
            self.row += 1
            return
        del self.grid[0]
        self.grid.append([" "] * self.cols)
        self.history_end += 1

    def _sequence(self, data: bytes) -> int:
        if len(data) < 2:
            return 0
        if data[1:2] == b"c":
            self._reset()
            return 2
        if data[1:2] == b"7":
            self._saved = self.row, self.col
            return 2
        if data[1:2] == b"8":
            self.row, self.col = self._saved
            return 2
        if data[1:2] != b"[":
            return 2
        if (found := _CSI.match(data)) is None:
            return 0
        arguments, final = found[1], found[2]
        if final == b"H":
            row, _, col = arguments.partition(b";")
            self.row, self.col, self.wrap = int(row or 1) - 1, int(col or 1) - 1, False
        elif final == b"J":
            self.grid = [[" "] * self.cols for _ in range(self.rows)]
        elif arguments == b"?2026":
            self.modes = self.modes | _SYNC if final == b"h" else self.modes & ~_SYNC
        elif arguments == b"4":
            self.modes = self.modes | _INSERT if final == b"h" else self.modes & ~_INSERT
        return found.end()

    def cell(self, row: int, col: int) -> tuple[str, int, int]:
        return self.grid[row][col], 1, 0

    def draw(
        self, cells: list[tuple[int, int, str, int, bool]], cursor: tuple[int, int] | None
    ) -> bytes:
        assert not self.modes & _SYNC
        drawn = b"".join(_go(row, col) + text.encode() for row, col, text, _, _ in cells)
        drawn += _go(*(cursor or (self.row, self.col)))
        if cursor is None and self.wrap:
            drawn += self.grid[self.row][self.col].encode()
        return b"\x1b[?2026h" + drawn + b"\x1b[?2026l" if len(cells) > 1 else drawn

    def undraw(self, cells: list[tuple[int, int]]) -> bytes:
        drawn = b"".join(_go(row, col) + self.grid[row][col].encode() for row, col in cells)
        drawn += _go(self.row, self.col)
        return drawn + (self.grid[self.row][self.col].encode() if self.wrap else b"")


def _go(row: int, col: int) -> bytes:
    return b"\x1b[%d;%dH" % (row + 1, col + 1)
