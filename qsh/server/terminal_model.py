"""What a terminal is, whoever looks at it: its output by offset, its screen, and the questions its programs asked. No I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from qsh.session.output_log import OutputLog
from qsh.terminal.screen import MODE_SYNC, Screen
from qsh.wire.terminal import TtyState

if TYPE_CHECKING:
    from qsh.wire.terminal import Ended

__all__ = ["COLS", "HISTORY_LINES", "NO_TTY", "ROWS", "TerminalModel"]

HISTORY_LINES: Final = 10_000
MARK_EVERY: Final = 16 * 1024
MARKS: Final = 80
"""Pairs of offset and history: more than the output log's length."""
MAX_QUERIES: Final = 64
SYNC_MAX_S: Final = 0.15
"""A synchronised update that is open longer is shown as it is."""
NO_TTY: Final = TtyState(0, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, "")
ROWS, COLS = 24, 80


class TerminalModel:
    """Fed with everything read from the master side."""

    def __init__(self, rows: int, cols: int) -> None:
        self.screen = Screen(rows or ROWS, cols or COLS, history_lines=HISTORY_LINES)
        self.log = OutputLog()
        self.tty = NO_TTY
        self.ended: Ended | None = None
        """The program's end, once its last output is in the log."""
        self.answered_to = 0
        """The last of the programs' questions that this side answered came before this offset: raw bytes before it must not be
        sent any more, or the client's terminal would answer it too."""
        self._unanswered: deque[tuple[int, bytes]] = deque(maxlen=MAX_QUERIES)
        self._marks: deque[tuple[int, int]] = deque([(0, 0)], maxlen=MARKS)
        self._sync_since: float | None = None

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        return self.log.end

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.screen.rows, self.screen.cols

    def feed(self, now: float, data: bytes) -> list[tuple[str, int, bytes]]:
        """Take output; what happened in it but the questions, which wait for :meth:`take_queries`."""
        self.log.append(data)
        events = self.screen.feed(data)
        if self.end - self._marks[-1][0] >= MARK_EVERY:
            self._marks.append((self.end, self.screen.history_end))
        if self.screen.modes & MODE_SYNC:
            self._sync_since = now if self._sync_since is None else self._sync_since
        else:
            self._sync_since = None
        if not events:
            return events
        self._unanswered += ((at, reply) for kind, at, reply in events if kind == "query")
        return [event for event in events if event[0] != "query"]

    def synchronising(self, now: float) -> float | None:
        """Until when the program wants nothing to be shown; None: it does not."""
        if self._sync_since is None or now - self._sync_since >= SYNC_MAX_S:
            return None
        return self._sync_since + SYNC_MAX_S

    def take_queries(self, start: int = 0) -> bytes:
        """The replies to all questions behind ``start`` that nobody has answered; they count as answered by this side."""
        replies = []
        for at, reply in self._unanswered:
            if at > start:
                replies.append(reply)
                self.answered_to = max(self.answered_to, at)
        self._unanswered.clear()
        return b"".join(replies)

    def passed(self, offset: int) -> None:
        """The client's terminal got the raw output up to here: it answers."""
        while self._unanswered and self._unanswered[0][0] <= offset:
            self._unanswered.popleft()

    @property
    def has_queries(self) -> bool:
        """Somebody is to answer."""
        return bool(self._unanswered)

    def history_at(self, offset: int) -> int:
        """The end of the history when ``offset`` bytes had come, or a little earlier."""
        found = self._marks[0][1]
        for at, history in self._marks:
            if at > offset:
                break
            found = history
        return max(found, self.screen.history_first)
