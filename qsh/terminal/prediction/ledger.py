"""What is remembered of programs: whether they echo, how often a guess was wrong, whether they overwrite."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Ledger"]

WINDOW: Final = 40
MAX_WRONG: Final = 2
"""More than 5 % of the window: predictions for the program stay off until its guesses, unseen, are right again."""
MAX_PROGRAMS: Final = 64
OVERWRITES: Final = 3


class Ledger:
    """Names and counts only: never what was typed."""

    def __init__(self) -> None:
        self._verdicts: dict[str, deque[bool]] = {}
        self._echoes: set[str] = set()
        self._overwrites: dict[str, int] = {}

    def verdict(self, program: str, right: bool) -> None:
        """A guess was right or wrong, drawn or not."""
        found = self._verdicts.get(program)
        if found is None:
            if len(self._verdicts) >= MAX_PROGRAMS:
                self._verdicts.clear()
            found = self._verdicts[program] = deque(maxlen=WINDOW)
        found.append(right)

    def off(self, program: str) -> bool:
        found = self._verdicts.get(program)
        return found is not None and found.count(False) > MAX_WRONG

    def echoes(self, program: str) -> bool:
        """Whether a character of this program's line editor came true, and none failed since."""
        return program in self._echoes

    def confirmed(self, program: str) -> None:
        if len(self._echoes) >= MAX_PROGRAMS:
            self._echoes.clear()
        self._echoes.add(program)

    def missed(self, program: str) -> None:
        self._echoes.discard(program)

    def replaced(self, program: str) -> None:
        """A character typed within a line has taken another one's place."""
        self._overwrites[program] = self._overwrites.get(program, 0) + 1

    def overwrites(self, program: str) -> bool:
        return self._overwrites.get(program, 0) >= OVERWRITES
