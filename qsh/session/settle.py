"""When typed input has had its effect, so that a prediction can be judged: the echo-acknowledgement.

A terminal that echoes by itself has done so once its output is drained after the write. Another program has read the key, put
something out and paused; or 50 ms have passed (mosh's value); or 150 ms, if it does not read.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

__all__ = ["Settle"]

PAUSE_S: Final = 0.003
LIMIT_S: Final = 0.050
UNREAD_LIMIT_S: Final = 0.150
MAX_PENDING: Final = 256


@dataclass(slots=True)
class _Written:
    mark: int
    at: float
    kernel: bool
    answered: bool = False


class Settle:
    """Writes to one terminal, by a mark that rises with every byte."""

    def __init__(self) -> None:
        self.settled = 0
        """Everything written up to this mark has had its effect."""
        self._pending: deque[_Written] = deque()
        self._output_at = float("-inf")

    @property
    def pending(self) -> bool:
        """Something written has not settled yet."""
        return bool(self._pending)

    def wrote(self, now: float, mark: int, *, kernel_echo: bool) -> None:
        """Input up to ``mark`` is in the terminal; ``kernel_echo``: ECHO and ICANON were set."""
        if len(self._pending) >= MAX_PENDING:
            self._pending.pop()
        self._pending.append(_Written(mark, now, kernel_echo))

    def output(self, now: float) -> None:
        """The program (or the kernel's echo) has put something out."""
        self._output_at = now
        for written in self._pending:
            written.answered = True

    def drained(self) -> None:
        """All output there is has been read."""
        while self._pending and self._pending[0].kernel:
            self.settled = self._pending.popleft().mark

    def check(self, now: float, unread: int) -> bool:
        """``unread``: bytes of input that the program has not read (FIONREAD); whether something settled."""
        before = self.settled
        while self._pending and now >= self._due(self._pending[0], unread):
            self.settled = self._pending.popleft().mark
        return self.settled != before

    def _due(self, written: _Written, unread: int) -> float:
        if unread:
            return written.at + UNREAD_LIMIT_S
        if written.answered:
            return min(self._output_at + PAUSE_S, written.at + LIMIT_S)
        return written.at + LIMIT_S

    def deadline(self, now: float) -> float | None:
        """When to :meth:`check` next, if nothing happens."""
        if not self._pending:
            return None
        first = self._pending[0]
        due = self._due(first, 0)
        return due if due > now else min(now + PAUSE_S * 2, first.at + UNREAD_LIMIT_S)
