"""Where the line that is being typed begins, what its prompt is, and when that may be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.terminal.prediction.keys import TEXT
from qsh.terminal.prediction.prompts import Prompt, prompt_of
from qsh.terminal.prediction.width import columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.terminal.prediction.guesses import Guess
    from qsh.terminal.screen import Screen

__all__ = ["NEVER", "LineStart"]

QUIET_S: Final = 0.004
"""A prompt may come in pieces: so long nothing is drawn behind a new one."""
BARE_LINE_S: Final = 0.300
"""A new line with nothing in it is a prompt only when it stays so."""
NEVER: Final = float("inf")


class LineStart:
    """Of one terminal. Places are row × columns + column."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.floor: int | None = None
        """The first place of the input; None: not known."""
        self._floor_row = 0
        self.prompt: Prompt | None = None
        """Of class L's line, as last read; None: not known, or blank."""
        self._ahead = 0
        """Where the kernel's echo of keys typed ahead of the prompt ends."""
        self.columns_typed: int | None = 0
        """Columns of text that settled on this line; None: other keys did, too."""
        self.release_at = 0.0
        """From then on guesses may be drawn on it."""
        self._left_at: tuple[int, int] | None = None
        """Place of the cursor before the line's end was applied, and the output offset then. None: that was answered."""
        self._offset_before = 0

    # -- what happens

    def begin(self, place: int) -> None:
        """A line's end had its effect; the cursor stood at ``place`` before."""
        if place == self.floor:
            place = -1  # an empty line: at the bottom the next prompt ends at the same place
        self._left_at = (place, self._offset_before)
        self.columns_typed = self._ahead = 0
        self.floor = self.prompt = None
        self.release_at = NEVER

    def typed_ahead(self, place: int) -> None:
        """Keys were echoed by the kernel up to ``place``: the prompt comes behind them, and then they again."""
        self._ahead = place
        self.floor = self.columns_typed = None

    def forget(self) -> None:
        """The screen has another size: nothing is known of places."""
        self.floor = self.prompt = self.columns_typed = None
        self._ahead = 0

    def took_effect(self, guess: Guess) -> None:
        """A key that does not end the line."""
        if guess.key.kind == TEXT:
            if self.columns_typed is not None:
                self.columns_typed += columns(guess.key.text)
        elif guess.effect is None or not guess.effect.cells or self.columns_typed != 0:
            self.columns_typed = None

    def heard(self, first: Guess | None, applied: int | None) -> None:
        """The host's word of what is applied; ``first``: the first key that has not settled."""
        if applied is None:
            self._offset_before = -1
        elif first is None or first.key.end > applied:
            self._offset_before = self._screen.offset

    # -- what the screen says when it is exact

    def find_floor(self, row: int, place: int) -> None:
        """With the cursor at ``place``, in ``row``."""
        typed = self.columns_typed
        if typed == 0 or (typed is not None and self.floor is None):
            self.floor = place - typed if place >= typed else None
        elif self.floor is not None and row != self._floor_row:
            self.floor = self._moved_floor(row, place)
        self._floor_row = row

    def _moved_floor(self, row: int, place: int) -> int | None:
        """The floor after the cursor came to another row by keys of unknown effect."""
        cols = self._screen.cols
        floor = self.floor
        if floor is None:
            return None
        if row > self._floor_row and self._screen.row_wrapped(row - 1):
            return floor
        moved = row * cols + floor % cols
        return moved if floor // cols == self._floor_row and moved <= place else None

    def read_prompt(self, row: int, col: int, echoes: Callable[[Prompt | None], bool]) -> bool:
        """Find the prompt of class L's line; whether it is another one than before: that may be a secret's, also without Enter
        (``read -n``). ``echoes``: whether the program was seen to echo behind such a prompt.
        """
        prompt = None
        if self.floor is not None:
            floor_row, end = divmod(self.floor, self._screen.cols)
            if self.columns_typed != 0 and self._continues(floor_row, col):
                return False
            prompt = self._prompt_left_of(floor_row, end)
        if self.columns_typed != 0 and not echoes(prompt):
            empty = self._prompt_left_of(row, col)
            if echoes(empty):
                # the keys were for something else, as a full-screen program
                prompt, self.columns_typed = empty, None
                self.floor = row * self._screen.cols + col
        changed = prompt != self.prompt
        self.prompt = prompt
        return changed

    def _prompt_left_of(self, row: int, col: int) -> Prompt | None:
        ahead_row, begin = divmod(self._ahead, self._screen.cols)
        if ahead_row != row or begin > col:
            begin = 0
        return prompt_of(self._screen.row_cells(row, begin, col))

    def _continues(self, row: int, col: int) -> bool:
        """Whether the floor's row holds what was typed, and the prompt has scrolled away."""
        if row > 0:
            return self._screen.row_wrapped(row - 1)
        return self.columns_typed is None or self.columns_typed > col

    def hold(self, place: int, col: int, changed_at: float) -> None:
        """When guesses may be drawn on a line that nothing was typed on yet: its prompt has to be there."""
        if self.columns_typed != 0:
            self.release_at = 0.0
        elif self._left_at is not None and (
            self._screen.offset == self._left_at[1] or place == self._left_at[0]
        ):
            self.release_at = NEVER
        else:
            self._left_at = None
            self.release_at = changed_at + (QUIET_S if col else BARE_LINE_S)
