"""History that a client fetches, in parts, so that it does not hold up what is on the screen. Sans-IO."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from qsh.errors import RemoteProtocolError
from qsh.wire.terminal import MAX_DATA, FetchHistory, HistoryLines

if TYPE_CHECKING:
    from qsh.terminal.screen import Screen

__all__ = ["HistoryFetches"]

MAX_FETCHES: Final = 8
PART_BYTES: Final = 256 * 1024
PART_LINES: Final = 10_000


class HistoryFetches:
    """In the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[FetchHistory] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def ask(self, wanted: FetchHistory) -> None:
        """One more. Raises RemoteProtocolError ``too-many-fetches``."""
        if len(self._waiting) >= MAX_FETCHES:
            raise RemoteProtocolError("too-many-fetches")
        self._waiting.append(wanted)

    def next_part(self, screen: Screen) -> HistoryLines:
        """Of the first one; with its last part it is done."""
        wanted = self._waiting.popleft()
        first = max(wanted.first, screen.history_first)
        end = min(wanted.end, screen.history_end)
        lines = screen.history(first, min(end, first + PART_LINES), max_bytes=PART_BYTES)
        cut = [(text[:MAX_DATA], wrapped) for text, wrapped in lines]
        last = not cut or first + len(cut) >= end
        if not last:
            self._waiting.appendleft(FetchHistory(wanted.number, first + len(cut), end))
        bounds = screen.history_first, screen.history_end
        return HistoryLines(wanted.number, first, cut, *bounds, last)
