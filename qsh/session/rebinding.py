"""When a client whose packets are not answered goes on from a fresh port. No I/O.

A NAT or a firewall may hold on to a way that is none any more, and keeps doing so while packets come: only another port gets a
new one.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Rebinding"]

UNANSWERED: Final = 3
"""Packets after the last one heard. One or two may be acknowledgements, which nobody answers; a question is repeated."""
SCHEDULE: Final = (3.0, 10.0, 30.0)
"""Seconds without an answer, for the first times."""
OTHER_WAY_S: Final = 1.0
"""For the first time, where there is another way."""
LATER_S: Final = 60.0
"""Between the later ones."""
BUSY_S: Final = 10.0
"""Packets so long ago count as use."""
LOOK_S: Final = 1.0
LOOK_IDLE_S: Final = 10.0


class Rebinding:
    """Counters of a connection in. Times are seconds of a clock that never goes back."""

    def __init__(self, now: float) -> None:
        self._sent = self._received = self._last = 0
        """Packets sent when something was heard last, and packets received; packets sent when looked last."""
        self._since: float | None = None
        """An answer has been waited for since then."""
        self._tries = 0
        self._used_at = now

    @property
    def silent(self) -> bool:
        """Something was asked and not answered."""
        return self._since is not None

    def unanswered_s(self, now: float, received: int) -> float:
        """How long an answer has been waited for; 0: nothing was asked that is not answered. Between two looks, too."""
        if self._since is None or received != self._received:
            return 0.0
        return now - self._since

    def look(self, now: float, sent: int, received: int, *, other_way: bool = False) -> bool:
        """Whether to go on from a fresh port now, or by another way if there is one."""
        if received != self._received:
            self._sent, self._received, self._last = sent, received, sent
            self._since, self._tries = None, 0
            self._used_at = now
            return False
        if sent != self._last:
            self._last, self._used_at = sent, now
        if self._since is None:
            if sent - self._sent >= UNANSWERED:
                self._since = now
            return False
        patience_s = OTHER_WAY_S if other_way and not self._tries else self._patience_s
        if now - self._since < patience_s:
            return False
        self._tries += 1
        return True

    def next_s(self, now: float) -> float:
        """How soon to look again."""
        return LOOK_S if self.silent or now - self._used_at < BUSY_S else LOOK_IDLE_S

    @property
    def _patience_s(self) -> float:
        if self._tries < len(SCHEDULE):
            return SCHEDULE[self._tries]
        return SCHEDULE[-1] + LATER_S * (self._tries - len(SCHEDULE) + 1)
