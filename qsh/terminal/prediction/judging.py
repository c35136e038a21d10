"""Which of the keys that have had their effect were guessed right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.terminal.prediction.guesses import matches, shows
from qsh.terminal.prediction.keys import TEXT

if TYPE_CHECKING:
    from qsh.terminal.prediction.guesses import Guess
    from qsh.terminal.screen import Screen

__all__ = ["judged", "replaced"]


def judged(screen: Screen, keys: list[Guess], count: int, applied: int | None) -> list[bool]:
    """Of the first ``count``, which have settled; the later ones, up to ``applied``, may be on the screen, too, in part."""
    for last in range(count - 1, len(keys)):
        guess = keys[last]
        if guess.effect is None or (
            applied is not None and last >= count and guess.key.end > applied
        ):
            break
        if matches(screen, keys, last, count - 1):
            return [True] * count
    return _one_by_one(screen, keys[:count])


def _one_by_one(screen: Screen, keys: list[Guess]) -> list[bool]:
    """Something is wrong: each by its own cells, else the last."""
    later: set[int] = set()
    right: list[bool] = []
    for guess in reversed(keys):
        cells = {} if guess.effect is None else guess.effect.cells
        right.append(
            all(place in later or shows(screen, place, text) for place, (text, _) in cells.items())
        )
        later.update(cells)
    right.reverse()
    if all(right):
        right[-1] = False
    return right


def replaced(screen: Screen, guess: Guess) -> bool:
    """Whether a character that should have pushed others on has taken the place of one."""
    if guess.key.kind != TEXT or guess.effect is None or len(guess.effect.cells) < 2:
        return False
    place = min(guess.effect.cells)
    row, col, _, _ = screen.cursor
    there = screen.cell(place // screen.cols, place % screen.cols)
    return there[0] == guess.key.text and place + there[1] == row * screen.cols + col
