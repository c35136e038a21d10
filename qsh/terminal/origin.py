"""Where on the user's terminal a session begins, sans-IO.

A login leaves what is on the screen where it is, as ssh does, so the model does not begin in the corner: the terminal is
asked for its cursor, and the answer is taken out of what the user types. A terminal that does not answer is never drawn on
before the session paints a whole screen.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["QUERY", "OriginFilter"]

QUERY: Final = b"\x1b[6n"
"""DSR 6: report the cursor's position."""
_ANSWER: Final = re.compile(rb"\x1b\[(\d{1,4});(\d{1,4})R")
_BEGINNING: Final = re.compile(rb"\x1b\[\d{1,4}(;\d{0,4})?\Z")
"""A part of an answer at the end of a read. An escape alone is a key, and no key begins like this."""


class OriginFilter:
    """Takes the first answer out of typed bytes."""

    def __init__(self) -> None:
        self._kept = b""
        self.position: tuple[int, int] | None = None
        """Row and column from 0, once the terminal has answered."""

    @property
    def kept(self) -> bytes:
        """What may be the beginning of an answer and was not passed on."""
        return self._kept

    def receive(self, data: bytes) -> bytes:
        """What the user typed."""
        if self.position is not None:
            return data
        data, self._kept = self._kept + data, b""
        if found := _ANSWER.search(data):
            self.position = max(0, int(found[1]) - 1), max(0, int(found[2]) - 1)
            return data[: found.start()] + data[found.end() :]
        if begun := _BEGINNING.search(data):
            self._kept = data[begun.start() :]
            return data[: begun.start()]
        return data
