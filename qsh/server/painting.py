"""What a frame holds: the difference to the last one, and the lines that scrolled away in between, within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qsh.terminal.screen import MODE_ALTERNATE, MODE_STRING

if TYPE_CHECKING:
    from qsh.server.terminal_model import TerminalModel
    from qsh.terminal.screen import Snapshot

__all__ = ["Drawn", "Painting"]

PART: Final = 1_000_000
"""Bytes in one message; larger paintings come in several."""
LINES_MAX: Final = 2_000
LINE_BYTES: Final = 100
"""What a line is taken to cost."""
BUDGET_S: Final = 0.25
FINAL_FACTOR: Final = 4
"""Behind the last frame the user waits for nothing."""
REPLAY_MAX: Final = 4096
STUCK_S: Final = 1.0
"""A sequence that stays open so long is painted over."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A painting: ordinary terminal bytes in at least one part, valid at ``offset``."""

    parts: list[bytes]
    offset: int
    skipped_first: int
    skipped_end: int


class Painting:
    """What one client's terminal shows, as far as frames have brought it there."""

    def __init__(self, model: TerminalModel) -> None:
        self._model = model
        self._base: Snapshot | None = None
        self._window = (0, 0)
        """Rows and columns in which the base was painted."""
        self._history = 0
        """The client's terminal has, or was told of, every line before this one."""
        self._open_since: float | None = None

    def begin(self, history: int) -> None:
        """What the client's terminal shows is not known: paint all; lines from ``history`` on go above."""
        self._base, self._history = None, history
        self._open_since = None

    @property
    def painted(self) -> bool:
        """The client's terminal shows a frame since :meth:`begin`."""
        return self._base is not None

    def forget_history(self) -> None:
        """The program cleared it: nothing from before is printed."""
        self._history = self._model.screen.history_end

    def at_boundary(self, sent: int) -> bool:
        """Raw output may follow a frame: no sequence is open, or one so young that it can be sent again."""
        screen, log = self._model.screen, self._model.log
        boundary = screen.boundary
        return (
            not screen.modes & MODE_STRING
            and max(sent, log.start, self._model.answered_to, log.end - REPLAY_MAX) <= boundary
        )

    def whole(self, history: int, window: tuple[int, int]) -> tuple[bytes, tuple[int, int]]:
        """The screen for whatever a terminal shows that has the lines before ``history``; the lines that it does not get."""
        screen = self._model.screen
        end = screen.history_end
        if history >= end or screen.modes & MODE_ALTERNATE:
            return screen.paint(window=window), (0, 0)
        return screen.paint(end, _marker(end - history), window=window), (history, end)

    def draw(
        self,
        now: float,
        sent: int,
        rate_bytes_s: float,
        *,
        final: bool,
        window: tuple[int, int],
        exact: bool = False,
    ) -> Drawn | None:
        """The frame from ``sent`` to the newest boundary; None: nothing to be seen, or a sequence is open that began before.

        ``window``: rows and columns of the client's terminal. A smaller screen stands in its upper left corner.
        ``exact``: no line is left out that is still known.
        """
        screen = self._model.screen
        offset = screen.boundary
        if offset < sent:
            self._open_since = now if self._open_since is None else self._open_since
            if now - self._open_since < STUCK_S:
                return None
            offset = screen.offset
        self._open_since = None
        if window != self._window:
            self._base, self._window = None, window
        first, end = self._history, screen.history_end
        budget = end if exact else self._budget(rate_bytes_s, screen.rows, final=final)
        kept = max(first, end - budget, screen.history_first)
        if end > first:
            marker = _marker(kept - first) if kept > first else ""
            data = screen.paint(kept, marker, window=window)
            self._history = end
        elif self._base is not None:
            data = screen.paint_from(self._base, window=window)
            first = kept = 0
        else:
            data = screen.paint(window=window)
            first = kept = 0
        if not data and offset == sent and not final:
            return None
        self._base = screen.snapshot()
        parts = [data[at : at + PART] for at in range(0, len(data), PART)] or [b""]
        skipped = (first, kept) if kept > first else (0, 0)
        return Drawn(parts, offset, *skipped)

    def _budget(self, rate_bytes_s: float, rows: int, *, final: bool) -> int:
        lines = int(rate_bytes_s * BUDGET_S / LINE_BYTES) * (FINAL_FACTOR if final else 1)
        return min(max(lines, 2 * rows), LINES_MAX)

    def retry_at(self, now: float) -> float | None:
        """When an open sequence is painted over."""
        if self._open_since is None:
            return None
        when = self._open_since + STUCK_S
        return when if when > now else None


def _marker(skipped: int) -> str:
    return f"── qsh: {skipped:,} lines skipped · ~h to read ──"
