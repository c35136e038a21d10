"""What the screen should show after each key, and the comparison with what it does show."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qsh.terminal.prediction.keys import TEXT

if TYPE_CHECKING:
    from qsh.terminal.prediction.keys import Key
    from qsh.terminal.screen import Screen

__all__ = ["Cells", "Effect", "Guess", "matches", "shows"]

Cells = dict[int, tuple[str, int]]
"""Text and style (-1: as the cell to the left) by row × columns + column. The right half of a wide character is ""."""


class Effect(NamedTuple):
    """What one key changes, as a line model sees it."""

    cells: Cells
    cursor: int
    """Row × columns + column; at the end of a row that is not wrapped yet: the row's last column."""


class Guess:
    """One typed key that the host has not settled."""

    __slots__ = ("drawn", "effect", "key", "typed_at")

    def __init__(self, key: Key, typed_at: float) -> None:
        self.key = key
        self.typed_at = typed_at
        self.effect: Effect | None = None
        """None: its effect is not known, nor that of any key behind it."""
        self.drawn = False

    @property
    def telling(self) -> bool:
        """Whether seeing it come true says something: blanks are there by chance."""
        return self.key.kind == TEXT and self.key.text != " "


def shows(screen: Screen, place: int, text: str) -> bool:
    """Whether the cell has this text. A suggestion may stand where nothing was expected."""
    cols = screen.cols
    found, width, style = screen.cell(place // cols, place % cols)
    if text == "":
        return width == 0
    return found == text or (text == " " and (found == "" or screen.style_is_dim(style)))


def matches(screen: Screen, guesses: list[Guess], last: int, sure: int) -> bool:
    """Whether the screen is what ``guesses`` up to index ``last`` make of it.

    Cells that a guess behind ``sure`` changed again are left out: its echo may be half there.
    """
    effect = guesses[last].effect
    row, col, _, _ = screen.cursor
    if effect is None or effect.cursor != row * screen.cols + col:
        return False
    later: set[int] = set()
    for at in range(last, -1, -1):
        found = guesses[at].effect
        if found is None:
            return False
        if at <= sure:
            for place, (text, _) in found.cells.items():
                if place not in later and not shows(screen, place, text):
                    return False
        later.update(found.cells)
    return True
