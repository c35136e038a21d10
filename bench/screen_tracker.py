"""The screen that a client's output makes, for measuring: rows as text, and the cursor.

Independent of qsh's own model, so that it can catch that one's errors. Colours are ignored. What leaves the top is gone.
Plain text that would only scroll away is not drawn: a flood costs one search for its last lines.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Screen"]

TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f]+)"
    r"|\x1b\[(?P<private>[<-?]?)(?P<numbers>[0-9;:]*)(?P<middle>[ -/]*)(?P<final>[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[PX^_][^\x1b]*\x1b\\"
    r"|\x1b[ -/]+[0-~]"
    r"|\x1b(?P<escape>[0-OQ-WYZ\\`-~])"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f])"
)
UNFINISHED_MAX = 1 << 20
"""Characters of an escape sequence whose end is waited for; its first one is skipped after that."""
TAB = 8
ALTERNATE = {47, 1047, 1049}
SYNCHRONIZED = 2026
PARAMETER_MAX = 10_000


class Screen:
    """``rows`` × ``columns`` cells, a character each; the second cell of a wide one is empty."""

    def __init__(self, rows: int = 24, columns: int = 80) -> None:
        self.rows, self.columns = rows, columns
        self.replies: list[bytes] = []
        """What a terminal answers to the queries seen so far; whoever reads takes them out."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished = ""
        self._reset()

    def _reset(self) -> None:
        self.cells = [self._blank() for _ in range(self.rows)]
        self.row = self.column = 0
        self.top, self.bottom = 0, self.rows - 1
        self.synchronized = False
        """In an update that the program has not ended: not to be looked at."""
        self.alternate = False
        self._wrap = True
        self._insert = self._origin = False
        self._saved = (0, 0)
        self._main: tuple[list[list[str]], tuple[int, int]] | None = None
        self._last = " "

    def _blank(self) -> list[str]:
        return [" "] * self.columns

    def text(self, row: int) -> str:
        """One row, blanks at its end left out."""
        return "".join(self.cells[row]).rstrip()

    def lines(self) -> list[str]:
        return [self.text(row) for row in range(self.rows)]

    def feed(self, data: bytes) -> None:
        """Draw what a client wrote."""
        text = self._unfinished + self._decoder.decode(data)
        self._unfinished = ""
        at = self._skip(text, 0)
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None:
                if len(text) - at < UNFINISHED_MAX:
                    self._unfinished = text[at:]
                    return
                at += 1
                continue
            at = found.end()
            if drawn := found["text"]:
                self._draw(drawn)
            elif control := found["control"]:
                self._control(control)
            elif found["final"]:
                self._csi(found)
                at = self._skip(text, at)
            elif found["escape"]:
                self._escape(found["escape"])

    def _skip(self, text: str, at: int) -> int:
        """Where to go on when the text from ``at`` on scrolls the screen away more than once before a sequence comes."""
        end = text.find("\x1b", at)
        end = len(text) if end < 0 else end
        if end - at < 2 * self.rows or (self.top, self.bottom) != (0, self.rows - 1):
            return at
        line = end
        for _ in range(self.rows + 1):
            line = text.rfind("\r\n", at, line)
            if line < 0:
                return at
        if line <= at:
            return at
        self.row, self.column = self.bottom, 0
        return line + 2

    def _line_feed(self) -> None:
        if self.row == self.bottom:
            self._scroll(self.top, self.bottom, 1)
        elif self.row < self.rows - 1:
            self.row += 1

    def _scroll(self, top: int, bottom: int, count: int) -> None:
        """Rows ``top``…``bottom`` go up by ``count``, or down when it is negative."""
        height = bottom - top + 1
        kept = min(abs(count), height)
        fresh = [self._blank() for _ in range(kept)]
        region = self.cells[top : bottom + 1]
        self.cells[top : bottom + 1] = (
            region[kept:] + fresh if count > 0 else fresh + region[: height - kept]
        )

    def _draw(self, text: str) -> None:
        if text.isascii() and not self._insert:
            self._draw_narrow(text)
            return
        for character in text:
            self._draw_one(character)

    def _draw_narrow(self, text: str) -> None:
        at = 0
        while at < len(text):
            if self.column >= self.columns:
                if not self._wrap:
                    self.column = self.columns - 1
                    text, at = text[-1], 0
                else:
                    self.column = 0
                    self._line_feed()
            part = text[at : at + self.columns - self.column]
            cells = self.cells[self.row]
            cells[self.column : self.column + len(part)] = part
            self.column += len(part)
            at += len(part)
        self._last = text[-1]

    def _draw_one(self, character: str) -> None:
        if unicodedata.combining(character) or character in "\u200d\ufe0f":
            return
        width = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if self.column + width > self.columns:
            if self._wrap:
                self.column = 0
                self._line_feed()
            else:
                self.column = self.columns - width
        cells = self.cells[self.row]
        drawn = [character, ""][:width]
        if self._insert:
            cells[self.column : self.column] = drawn
            del cells[self.columns :]
        else:
            cells[self.column : self.column + width] = drawn
        self.column += width
        self._last = character

    def _control(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character in "\n\v\f":
            self._line_feed()
        elif character == "\b":
            self.column = max(0, min(self.column, self.columns - 1) - 1)
        elif character == "\t":
            self.column = min(self.columns - 1, (self.column // TAB + 1) * TAB)

    def _escape(self, letter: str) -> None:
        if letter == "M":
            if self.row == self.top:
                self._scroll(self.top, self.bottom, -1)
            else:
                self.row = max(0, self.row - 1)
        elif letter in "DE":
            self.column = 0 if letter == "E" else self.column
            self._line_feed()
        elif letter == "c":
            self._reset()
        elif letter == "7":
            self._saved = (self.row, self.column)
        elif letter == "8":
            self.row, self.column = self._saved

    def _csi(self, found: re.Match[str]) -> None:
        numbers = [
            min(int(word), PARAMETER_MAX) if word.isdigit() else 0
            for word in found["numbers"].split(";")
        ]
        key = found["private"] + found["middle"] + found["final"]
        if act := ACTIONS.get(key):
            act(self, numbers)

    # -- sequences -----------------------------------------------------------------------------

    def _to(self, row: int, column: int) -> None:
        self.row = min(self.rows - 1, max(0, row))
        self.column = min(self.columns - 1, max(0, column))

    def _position(self, numbers: list[int]) -> None:
        row, column = (*numbers, 1)[:2]
        self._to(max(1, row) - 1 + (self.top if self._origin else 0), max(1, column) - 1)

    def _erase_screen(self, numbers: list[int]) -> None:
        if numbers[0] in (2, 3):
            if numbers[0] == 2:
                self.cells = [self._blank() for _ in range(self.rows)]
            return
        rows = range(self.row) if numbers[0] == 1 else range(self.row + 1, self.rows)
        for row in rows:
            self.cells[row] = self._blank()
        self._erase_line(numbers)

    def _erase_line(self, numbers: list[int]) -> None:
        column = min(self.column, self.columns - 1)
        start, end = ((column, self.columns), (0, column + 1), (0, self.columns))[
            min(numbers[0], 2)
        ]
        self.cells[self.row][start:end] = [" "] * (end - start)

    def _erase_cells(self, numbers: list[int]) -> None:
        count = min(max(1, numbers[0]), self.columns - self.column)
        self.cells[self.row][self.column : self.column + count] = [" "] * count

    def _delete_cells(self, numbers: list[int]) -> None:
        cells = self.cells[self.row]
        del cells[self.column : self.column + max(1, numbers[0])]
        cells.extend(" " * (self.columns - len(cells)))

    def _insert_cells(self, numbers: list[int]) -> None:
        cells = self.cells[self.row]
        cells[self.column : self.column] = " " * min(max(1, numbers[0]), self.columns)
        del cells[self.columns :]

    def _rows(self, count: int) -> None:
        """Insert or delete rows at the cursor."""
        if self.top <= self.row <= self.bottom:
            self._scroll(self.row, self.bottom, count)

    def _region(self, numbers: list[int]) -> None:
        top, bottom = (*numbers, 0)[:2]
        self.top = min(max(1, top), self.rows) - 1
        self.bottom = min(bottom or self.rows, self.rows) - 1
        if self.top >= self.bottom:
            self.top, self.bottom = 0, self.rows - 1
        self._to(self.top if self._origin else 0, 0)

    def _repeat(self, numbers: list[int]) -> None:
        self._draw(self._last * max(1, numbers[0]))

    def _save(self, _: list[int]) -> None:
        self._saved = (self.row, self.column)

    def _restore(self, _: list[int]) -> None:
        self.row, self.column = self._saved

    def _modes(self, numbers: list[int], on: bool) -> None:
        for number in numbers:
            if number == 7:
                self._wrap = on
            elif number == 6:
                self._origin = on
                self._to(self.top if on else 0, 0)
            elif number == SYNCHRONIZED:
                self.synchronized = on
            elif number in ALTERNATE:
                self._switch(on)

    def _switch(self, alternate: bool) -> None:
        if alternate and self._main is None:
            self._main = (self.cells, (self.row, self.column))
            self.cells = [self._blank() for _ in range(self.rows)]
        elif not alternate and self._main is not None:
            self.cells, (self.row, self.column) = self._main
            self._main = None
        self.alternate = alternate

    def _insert_mode(self, numbers: list[int], on: bool) -> None:
        if 4 in numbers:
            self._insert = on

    def _status(self, numbers: list[int]) -> None:
        if numbers[0] == 6:
            column = min(self.column, self.columns - 1)
            self.replies.append(f"\x1b[{self.row + 1};{column + 1}R".encode())
        elif numbers[0] == 5:
            self.replies.append(b"\x1b[0n")

    def _answer(self, text: str) -> None:
        self.replies.append(text.encode())


def _moves(rows: int, columns: int) -> Callable[[Screen, list[int]], None]:
    def move(screen: Screen, numbers: list[int]) -> None:
        count = max(1, numbers[0])
        column = min(screen.column, screen.columns - 1)
        screen._to(screen.row + rows * count, column + columns * count)

    return move


ACTIONS: dict[str, Callable[[Screen, list[int]], None]] = {
    "H": Screen._position,
    "f": Screen._position,
    "A": _moves(-1, 0),
    "B": _moves(1, 0),
    "C": _moves(0, 1),
    "D": _moves(0, -1),
    "E": lambda screen, n: screen._to(screen.row + max(1, n[0]), 0),
    "F": lambda screen, n: screen._to(screen.row - max(1, n[0]), 0),
    "G": lambda screen, n: screen._to(screen.row, max(1, n[0]) - 1),
    "`": lambda screen, n: screen._to(screen.row, max(1, n[0]) - 1),
    "d": lambda screen, n: screen._to(max(1, n[0]) - 1, screen.column),
    "J": Screen._erase_screen,
    "K": Screen._erase_line,
    "X": Screen._erase_cells,
    "P": Screen._delete_cells,
    "@": Screen._insert_cells,
    "L": lambda screen, n: screen._rows(-max(1, n[0])),
    "M": lambda screen, n: screen._rows(max(1, n[0])),
    "S": lambda screen, n: screen._scroll(screen.top, screen.bottom, max(1, n[0])),
    "T": lambda screen, n: screen._scroll(screen.top, screen.bottom, -max(1, n[0])),
    "r": Screen._region,
    "b": Screen._repeat,
    "s": Screen._save,
    "u": Screen._restore,
    "h": lambda screen, n: screen._insert_mode(n, True),
    "l": lambda screen, n: screen._insert_mode(n, False),
    "?h": lambda screen, n: screen._modes(n, True),
    "?l": lambda screen, n: screen._modes(n, False),
    "n": Screen._status,
    "c": lambda screen, n: screen._answer("\x1b[?62;22c"),
    ">c": lambda screen, n: screen._answer("\x1b[>41;0;0c"),
    "?u": lambda screen, n: screen._answer("\x1b[?0u"),
    "?$p": lambda screen, n: screen._answer(f"\x1b[?{n[0]};0$y"),
}
