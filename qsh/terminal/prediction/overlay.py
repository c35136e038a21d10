"""What guesses look like over the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from qsh.terminal.prediction.guesses import Cells, Guess
    from qsh.terminal.screen import Screen

__all__ = ["NOTHING", "Cell", "Overlay", "overlay_of"]

Cell = tuple[int, int, str, int, bool]
"""Row, column, text, style (-1: as the cell to the left), underlined."""


class Overlay(NamedTuple):
    """What to draw over the screen. ``cursor``: row and column, None where it truly is."""

    cells: tuple[Cell, ...]
    cursor: tuple[int, int] | None


NOTHING: Final = Overlay((), None)


def overlay_of(
    screen: Screen, guesses: list[Guess], *, underline: bool
) -> tuple[Overlay, set[int]]:
    """Also the places of its cells. What the screen shows already is left out."""
    cols = screen.cols
    found: Cells = {}
    for guess in guesses:
        if guess.effect is not None and guess.effect.cells:
            found.update(guess.effect.cells)
    cells: list[Cell] = []
    places: set[int] = set()
    there: list[str] = []
    begin = end = 0
    for place, (text, style) in sorted(found.items()):
        row, col = divmod(place, cols)
        if place >= end:  # one call for each row
            begin, end = place, (row + 1) * cols
            last_place = max(other for other in found if other < end)
            row_cells = screen.row_cells(row, col, last_place - row * cols + 1)
            there = [cell[0] for cell in row_cells]
        if text and there[place - begin : place - begin + 1] != [text]:
            places.add(place)
            cells.append((row, col, text, style, underline and text != " "))
    last = guesses[-1].effect
    row, col, _, _ = screen.cursor
    if last is None or last.cursor == row * cols + col:
        return (Overlay(tuple(cells), None) if cells else NOTHING), places
    return Overlay(tuple(cells), divmod(last.cursor, cols)), places
