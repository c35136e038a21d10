"""Classes R and A: programs that must show what they do with letters before a guess is drawn."""

from __future__ import annotations

from typing import Final

__all__ = ["FullScreenGate", "RawGate"]

LEARN: Final = 8
"""Guesses in a row that must come true, unseen, before class A opens."""


class RawGate:
    """Class R: one character of each line has to come true first. Class L uses it for programs that relay another terminal,
    and behind prompts that are not known."""

    def __init__(self) -> None:
        self.open = False

    def line(self) -> None:
        self.open = False

    def confirmed(self) -> None:
        self.open = True

    def missed(self) -> None:
        self.open = False


class FullScreenGate:
    """Class A: learns per program and row, forgets at the first miss and with every key that may change the mode."""

    def __init__(self) -> None:
        self._place: tuple[str, int] | None = None
        self._right = 0
        self._entered = False

    @property
    def open(self) -> bool:
        return self._right >= LEARN and not self._entered

    def at(self, program: str, row: int) -> None:
        """Where the cursor is, before the guesses are made."""
        if self._place != (program, row) and not self._entered:
            self._right = 0
        self._place = (program, row)

    def confirmed(self) -> None:
        self._right += 1
        self._entered = False

    def missed(self) -> None:
        self._right = 0

    def line(self) -> None:
        """Enter: an editor goes on on the next row, a multiplexer may ask for a password."""
        self._entered = True

    def unknown(self) -> None:
        """A key of unknown effect: the letters may be commands now."""
        self._right = 0
        self._entered = False
