"""A recording that is played: the screen as it was at a time, pauses, speed and skips. Sans-IO: ``now`` in, a deadline out.

There are two clocks: the recording's, and the player's, on which long silences are short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.terminal.asciicast import OUTPUT, RESIZE
from qsh.terminal.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qsh.terminal.asciicast import Event, Header

__all__ = ["MAX_SPEED", "MIN_SPEED", "Playback"]

MIN_SPEED, MAX_SPEED = 0.01, 1000.0
MAX_EVENTS: Final = 2000
"""Applied in one go: keys are looked at in between."""


class Playback:
    """``events`` gives the recording's events from its beginning, each time it is called; they are read as they are due."""

    def __init__(
        self,
        header: Header,
        events: Callable[[], Iterator[Event]],
        now: float,
        *,
        speed: float = 1.0,
        max_idle_s: float | None = None,
    ) -> None:
        self._header, self._source, self._max_idle_s = header, events, max_idle_s
        self.speed, self.paused = speed, False
        self._clock, self._since = 0.0, now
        self._rewind()

    def _rewind(self) -> None:
        self.screen = Screen(self._header.rows, self._header.cols)
        self.position_s = 0.0
        """Of what is shown, on the recording's clock."""
        self._played = 0.0
        self._events = self._source()
        self._pull()

    def _pull(self) -> None:
        self._next = next(self._events, None)
        if self._next is not None:
            self._due = self._played + self._idle(self._next.at_s - self.position_s)

    def _idle(self, seconds: float) -> float:
        """What a silence is on the player's clock."""
        seconds = max(0.0, seconds)
        return seconds if self._max_idle_s is None else min(seconds, self._max_idle_s)

    def _apply(self, event: Event) -> None:
        if event.kind == OUTPUT:
            self.screen.feed(event.data.encode("utf-8", "replace"))
        elif event.kind == RESIZE and event.size is not None:
            self.screen.resize(*event.size)
        self._played = self._due
        self.position_s = max(self.position_s, event.at_s)
        self._pull()

    def _set_clock(self, now: float) -> None:
        if not self.paused:
            self._clock += (now - self._since) * self.speed
        self._since = now

    @property
    def finished(self) -> bool:
        """Everything is shown."""
        return self._next is None

    def advance(self, now: float) -> bool:
        """Show what is due; whether there was anything."""
        self._set_clock(now)
        count = 0
        while self._next is not None and self._due <= self._clock and count < MAX_EVENTS:
            self._apply(self._next)
            count += 1
        if self._next is None:
            self._clock = self._played
        return count > 0

    def deadline(self, now: float) -> float | None:
        """When :meth:`advance` is due."""
        if self._next is None or (self.paused and self._due > self._clock):
            return None
        clock = self._clock + (0.0 if self.paused else (now - self._since) * self.speed)
        return now + max(0.0, self._due - clock) / self.speed

    def pause(self, now: float) -> None:
        """Stop, or go on."""
        self._set_clock(now)
        self.paused = not self.paused

    def set_speed(self, now: float, speed: float) -> None:
        """Within what is sensible."""
        self._set_clock(now)
        self.speed = min(max(speed, MIN_SPEED), MAX_SPEED)

    def skip(self, now: float, seconds: float) -> None:
        """On the player's clock. Backwards, the recording is read from its beginning."""
        self._set_clock(now)
        self._clock = max(0.0, self._clock + seconds)
        if self._clock < self._played:
            self._rewind()

    def go_to(self, now: float, at_s: float) -> None:
        """Forward to a time on the recording's clock, at once."""
        while self._next is not None and self._next.at_s <= at_s:
            self._apply(self._next)
        self._clock, self._since = self._played, now
        if self._next is not None:
            self._clock += self._idle(at_s - self.position_s)
