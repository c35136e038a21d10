"""A screen as a picture on a terminal of somebody else's: cells with colours, and nothing else of what was written to it.

No title, no mode, no clipboard, no link, no palette: what a recording contains does not reach who looks at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.terminal.screen import Screen

if TYPE_CHECKING:
    from qsh.terminal.display import Cell

__all__ = ["Picture", "shown"]

_JOINER: Final = "\u200d"
_BLANK: Final = (" ", 1, 0)
BEGIN: Final = b"\x1b[m\x1b[r\x1b[H\x1b[2J"


def shown(text: str) -> str:
    """Without what turns or hides text, such as bidirectional overrides."""
    if text.isprintable():
        return text
    return "".join(char for char in text if char.isprintable() or char == _JOINER)


class Picture:
    """For a window of this size, whose last row is a line of ours."""

    def __init__(self, rows: int, cols: int) -> None:
        self._window = Screen(max(rows, 1), max(cols, 2))
        self._rows, self._cols = self._window.rows, self._window.cols
        self._drawn: list[list[tuple[str, int, int]]] | None = None
        self._visible = True
        bar = Screen(1, 2)
        bar.feed(b"\x1b[7mx")
        self._bar = bar.cell(0, 0)[2]

    def paint(self, screen: Screen, line: str) -> bytes:
        """What brings the window from the last painting to this one. Of a larger screen the part with the cursor is shown."""
        row, col, _, visible = screen.cursor
        height = self._rows - 1
        top = min(max(0, row - height + 1), max(0, screen.rows - height))
        rows = [self._row(screen, top + at) for at in range(height)]
        text = shown(line)[: self._cols].ljust(self._cols)
        rows.append([(char, 1, self._bar) for char in text])
        out = b""
        if self._drawn is None:
            out, self._drawn = BEGIN, [[_BLANK] * self._cols for _ in range(self._rows)]
        cells: list[Cell] = []
        for at, (before, after) in enumerate(zip(self._drawn, rows, strict=True)):
            if before != after:
                cells += _changes(at, before, after)
        self._drawn = rows
        out += self._window.draw(cells, (max(0, min(row - top, height - 1)), col))
        if visible != self._visible:
            self._visible = visible
            out += b"\x1b[?25h" if visible else b"\x1b[?25l"
        return out

    def _row(self, screen: Screen, row: int) -> list[tuple[str, int, int]]:
        cells = screen.row_cells(row)[: self._cols]
        if cells and cells[-1][1] == 2:  # cut in two by the window's edge
            cells[-1] = _BLANK
        return cells + [_BLANK] * (self._cols - len(cells))


def _changes(
    row: int, before: list[tuple[str, int, int]], after: list[tuple[str, int, int]]
) -> list[Cell]:
    return [
        (row, col, shown(cell[0]) or " ", cell[2], False)
        for col, cell in enumerate(after)
        if cell[1] and (cell != before[col] or (cell[1] == 2 and before[col + 1] != after[col + 1]))
    ]
