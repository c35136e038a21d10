"""What is remembered of programs: behind which prompts they echo, how often a guess was wrong, whether they overwrite."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from qsh.terminal.prediction.prompts import Prompts

if TYPE_CHECKING:
    from qsh.terminal.prediction.prompts import Prompt

__all__ = ["Ledger"]

WINDOW: Final = 40
MAX_WRONG: Final = 2
"""More than 5 % of the window: predictions for the program stay off until its guesses, unseen, are right again."""
MAX_PROGRAMS: Final = 64
OVERWRITES: Final = 3


class Ledger:
    """Names, counts and prompts only: never what was typed."""

    def __init__(self) -> None:
        self._verdicts: dict[str, deque[bool]] = {}
        self._off: set[str] = set()
        """Counted with each verdict: it is asked for far more often."""
        self._echoes: dict[str, Prompts] = {}
        self._overwrites: dict[str, int] = {}

    def verdict(self, program: str, right: bool) -> None:
        """A guess was right or wrong, drawn or not."""
        found = self._verdicts.get(program)
        if found is None:
            if len(self._verdicts) >= MAX_PROGRAMS:
                self._verdicts.clear()
                self._off.clear()
            found = self._verdicts[program] = deque(maxlen=WINDOW)
        found.append(right)
        if found.count(False) > MAX_WRONG:
            self._off.add(program)
        else:
            self._off.discard(program)

    def off(self, program: str) -> bool:
        return program in self._off

    def echoes(self, program: str, prompt: Prompt | None) -> bool:
        """Whether a character typed behind such a prompt of this program came true, and none of the program failed since."""
        known = self._echoes.get(program)
        return known is not None and prompt is not None and prompt in known

    def confirmed(self, program: str, prompt: Prompt) -> None:
        known = self._echoes.get(program)
        if known is None:
            if len(self._echoes) >= MAX_PROGRAMS:
                self._echoes.clear()
            known = self._echoes[program] = Prompts()
        known.add(prompt)

    def missed(self, program: str) -> None:
        self._echoes.pop(program, None)

    def replaced(self, program: str) -> None:
        """A character typed within a line has taken another one's place."""
        self._overwrites[program] = self._overwrites.get(program, 0) + 1

    def overwrites(self, program: str) -> bool:
        return self._overwrites.get(program, 0) >= OVERWRITES
