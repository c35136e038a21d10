"""The line that a program edits: readline, zle, fish, a REPL, or the line at a full-screen editor's cursor.

The line is read off the screen whenever that is known to be exact, so an error never outlives one round trip. It begins at the
*input floor*, the place where the cursor stood when the prompt was complete. Its end is found by the look: grey text right of the
cursor is a suggestion, text at the right margin behind blanks is a right prompt; both are written over, never shifted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.terminal.prediction import keys
from qsh.terminal.prediction.guesses import Cells, Effect
from qsh.terminal.prediction.width import columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.terminal.prediction.keys import Key
    from qsh.terminal.screen import Screen

__all__ = ["EditLine"]

Char = tuple[str, int, int]
"""Text, width, style."""

RIGHT_PROMPT_BLANKS: Final = 2
MAX_CHARS: Final = 4096
_NEW: Final = -1
_BASH_LIKE: Final = ("bash", "sh", "rbash")


class EditLine:
    """The line as it will be after all keys applied so far.

    ``floor``: where input begins (row × columns + column), None if that is not known. ``plain``: only insertion, backspace and
    left/right are known (full-screen programs), the line is the screen's row. ``overwrite``: typed text replaces.
    """

    def __init__(
        self,
        screen: Screen,
        floor: int | None,
        *,
        program: str = "",
        plain: bool = False,
        overwrite: bool = False,
    ) -> None:
        self._cols = screen.cols
        self._limit = screen.rows * screen.cols
        self._program = program
        self._plain = plain
        self._overwrite = overwrite
        row, col, self._wrapping, _ = screen.cursor
        place = row * self._cols + col
        if plain:
            floor = row * self._cols
        elif floor is not None and floor > place:
            floor = None
        self._floor_known = floor is not None
        start = place if floor is None else floor
        self._start = start
        self._chars: list[Char] = _between(screen, start, place)
        self._index = len(self._chars)
        if not self._overwrite:
            tail, self._suggested = _tail(screen, row, col)
            self._chars += tail
        else:
            self._suggested = False
        self._places: list[int] = []
        self._end = start
        self._lay_out(0)

    @property
    def cursor(self) -> int:
        return self._places[self._index] if self._index < len(self._places) else self._end

    def apply(self, key: Key) -> Effect | None:
        """What ``key`` changes, None if that is not known; the line must not be asked again then."""
        if self._wrapping:
            return None
        if key.kind == keys.TEXT:
            return self._type(key.text)
        does = (_CONTROLS if key.kind == keys.CONTROL else _NAMED).get(key.text or key.kind)
        if does is None or (self._plain and does not in _PLAIN):
            return None
        return does(self)

    def _type(self, char: str) -> Effect | None:
        width = columns(char)
        if width == 0 or len(self._chars) >= MAX_CHARS:
            return None
        at = self._index
        if self._overwrite and at < len(self._chars):
            if self._chars[at][1] != width:
                return None
            self._chars[at] = (char, width, _NEW)
        else:
            self._chars.insert(at, (char, width, _NEW))
        self._index = at + 1
        return self._changed(at)

    def _erase(self, first: int, end: int) -> Effect | None:
        """Remove characters [first, end); the cursor is then at ``first``."""
        if first < end:
            del self._chars[first:end]
        self._index = first
        return self._changed(first) if first < end else self._moved()

    def _backspace(self) -> Effect | None:
        if self._index == 0:
            return self._moved() if self._floor_known and not self._plain else None
        if self._plain and self._overwrite:
            return None
        return self._erase(self._index - 1, self._index)

    def _delete(self) -> Effect | None:
        return self._erase(self._index, min(self._index + 1, len(self._chars)))

    def _left(self) -> Effect | None:
        if self._index == 0:
            return self._moved() if self._floor_known and not self._plain else None
        self._index -= 1
        return self._moved()

    def _right(self) -> Effect | None:
        if self._index == len(self._chars):
            return None if self._suggested or self._plain else self._moved()
        self._index += 1
        return self._moved()

    def _home(self) -> Effect | None:
        if not self._floor_known:
            return None
        self._index = 0
        return self._moved()

    def _to_end(self) -> Effect | None:
        if self._index == len(self._chars) and self._suggested:
            return None
        self._index = len(self._chars)
        return self._moved()

    def _kill_left(self) -> Effect | None:
        # with text right of the cursor bash keeps that and zsh does not
        if not self._floor_known or self._index < len(self._chars):
            return None
        return self._erase(0, self._index)

    def _kill_right(self) -> Effect | None:
        return self._erase(self._index, len(self._chars))

    def _word_start(self) -> int | None:
        """Where the word left of the cursor begins, if all line editors agree on that."""
        at = self._index
        while at > 0 and self._chars[at - 1][0] == " ":
            at -= 1
        end = at
        while at > 0 and self._chars[at - 1][0].isalnum():
            at -= 1
        if at == end and at > 0:
            return None
        if at == 0:
            return 0 if self._floor_known else None
        return at if self._chars[at - 1][0] == " " else None

    def _kill_word(self) -> Effect | None:
        start = self._word_start()
        return None if start is None else self._erase(start, self._index)

    def _word_left(self) -> Effect | None:
        start = self._word_start()
        if start is None:
            return None
        self._index = start
        return self._moved()

    def _word_right(self) -> Effect | None:
        if self._program not in _BASH_LIKE or self._suggested:
            return None
        at, chars = self._index, self._chars
        while at < len(chars) and not chars[at][0].isalnum():
            at += 1
        while at < len(chars) and chars[at][0].isalnum():
            at += 1
        self._index = at
        return self._moved()

    def _moved(self) -> Effect | None:
        return Effect({}, self.cursor)

    def _changed(self, first: int) -> Effect | None:
        """The characters from ``first`` on are others, or elsewhere."""
        old_end = self._end
        self._lay_out(first)
        if self._end >= self._limit:
            return None  # the screen scrolls
        cells: Cells = {}
        for at in range(first, len(self._chars)):
            text, width, style = self._chars[at]
            place = self._places[at]
            cells[place] = (text, style)
            if width == 2:
                cells[place + 1] = ("", style)
        for place in range(self._end, min(old_end, self._limit)):
            cells[place] = (" ", _NEW)
        return Effect(cells, self.cursor)

    def _lay_out(self, first: int) -> None:
        """Places of the characters from ``first`` on."""
        del self._places[first:]
        place = self._places[-1] + self._chars[first - 1][1] if first else self._start
        for _, width, _ in self._chars[first:] if first else self._chars:
            if width == 2 and place % self._cols == self._cols - 1:
                place += 1
            self._places.append(place)
            place += width
        self._end = place


def _between(screen: Screen, start: int, end: int) -> list[Char]:
    """The characters of the places [start, end)."""
    cols = screen.cols
    found: list[Char] = []
    for row in range(start // cols, end // cols + 1):
        first = start - row * cols if row == start // cols else 0
        stop = end - row * cols if row == end // cols else cols
        cells = screen.row_cells(row, max(0, first), stop)
        found += [cell for cell in cells if cell[1]]
    return found


def _tail(screen: Screen, row: int, col: int) -> tuple[list[Char], bool]:
    """The line's characters from the cursor on, and whether a suggestion follows them."""
    found: list[Char] = []
    while row < screen.rows:
        cells = screen.row_cells(row, col, screen.row_end(row))
        room = screen.cols - col
        size = 0
        for at, (text, width, style) in enumerate(cells):
            if text.strip() and screen.style_is_dim(style):
                return found + _trimmed(cells[:at]), True
            if text.strip() or width == 0:
                size = at + 1
        size = _without_right_prompt(cells, size, room)
        found += [cell for cell in cells[:size] if cell[1]]
        if size < room or not screen.row_wrapped(row):
            break
        row, col = row + 1, 0
    return found, False


def _trimmed(cells: list[Char]) -> list[Char]:
    """Without blanks at the end."""
    size = len(cells)
    while size and not cells[size - 1][0].strip():
        size -= 1
    return [cell for cell in cells[:size] if cell[1]]


def _without_right_prompt(cells: list[Char], size: int, room: int) -> int:
    """``size`` less a text that ends at the margin, ``room`` cells away, and stands behind blanks."""
    if size < room - 1 or size == 0:
        return size
    blanks = 0
    for at in range(size - 1, -1, -1):
        if cells[at][0] == " ":
            blanks += 1
        elif blanks >= RIGHT_PROMPT_BLANKS:
            return at + 1
        else:
            blanks = 0
    return 0 if blanks >= RIGHT_PROMPT_BLANKS else size


_CONTROLS: Final[dict[str, Callable[[EditLine], Effect | None]]] = {
    "\x7f": EditLine._backspace,
    "\x08": EditLine._backspace,
    "\x01": EditLine._home,
    "\x02": EditLine._left,
    "\x05": EditLine._to_end,
    "\x06": EditLine._right,
    "\x0b": EditLine._kill_right,
    "\x15": EditLine._kill_left,
    "\x17": EditLine._kill_word,
}
_NAMED: Final[dict[str, Callable[[EditLine], Effect | None]]] = {
    keys.LEFT: EditLine._left,
    keys.RIGHT: EditLine._right,
    keys.HOME: EditLine._home,
    keys.END: EditLine._to_end,
    keys.DELETE: EditLine._delete,
    keys.WORD_LEFT: EditLine._word_left,
    keys.WORD_RIGHT: EditLine._word_right,
}
_PLAIN: Final = (EditLine._backspace, EditLine._left, EditLine._right)
