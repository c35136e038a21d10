"""When the path in use gives reason to look whether another is better. No I/O.

While it does well nothing is sent for this: the engine's own counters tell. Reasons are silence after a question, a share of lost
packets, and a round trip that has grown, or is long anyway.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["DELAY", "LOSS", "SILENCE", "Figures", "PathDoubt"]

SILENCE: Final = "silence"
LOSS: Final = "loss"
DELAY: Final = "delay"

UNANSWERED_S: Final = 0.3
UNANSWERED_RTTS: Final = 2.5
"""What wants an answer may wait so long for any packet, whichever is longer."""
LOSS_PACKETS: Final = 20
"""Sent, over which a share is taken."""
LOSS_COUNT: Final = 3
LOSS_SHARE: Final = 0.08
"""At least both: one lost burst in a while is no bad path."""
FRESH_S: Final = 10.0
"""Counts that are older say nothing of now."""
GROWN: Final = 2.0
GROWN_S: Final = 0.06
"""A round trip of more than the shortest one twice, and this."""
LONG_S: Final = 0.3
"""One that a user feels at each key, however it was before."""
SETTLE_S: Final = 3.0
"""After a move the engine's averages are still of the path before."""


class Figures(NamedTuple):
    """The engine's, of the whole connection."""

    rtt_s: float
    sent: int
    lost: int
    received: int


class PathDoubt:
    """Of the path that one connection has. Times are seconds of a clock that never goes back."""

    def __init__(self, now: float) -> None:
        self._asked_s: float | None = None
        """A question waits for any packet since then."""
        self._received = 0
        self._begun_s = now
        self._begun: tuple[int, int] | None = None
        """Sent and lost when counting began; None: with the next figures."""
        self._lossy = False
        self._rtt_s = 0.0
        self._best_s: float | None = None
        self._settled_s = now

    # -- what happened

    def asked(self, now: float, received: int) -> None:
        """Something that wants an answer leaves; packets ``received`` so far."""
        if self._asked_s is None or received != self._received:
            self._asked_s, self._received = now, received

    @property
    def waits(self) -> bool:
        """A question is noted: another one need not be."""
        return self._asked_s is not None

    def heard(self, received: int) -> None:
        """Packets received so far: any new one is an answer."""
        if received != self._received:
            self._asked_s, self._received = None, received

    def figures(self, now: float, figures: Figures) -> None:
        """As they are now; looked at about every second while the connection is used."""
        news = figures.received != self._received
        self.heard(figures.received)
        self._count(now, figures.sent, figures.lost)
        if news and now >= self._settled_s:
            self._rtt_s = figures.rtt_s
            self._best_s = min(self._best_s or figures.rtt_s, figures.rtt_s)

    def moved(self, now: float, rtt_s: float) -> None:
        """To another path, whose round trip was measured."""
        self._asked_s, self._begun, self._lossy = None, None, False
        self._rtt_s = self._best_s = rtt_s
        self._settled_s = now + SETTLE_S

    def _count(self, now: float, sent: int, lost: int) -> None:
        if now < self._settled_s:
            self._begun = None
        if self._begun is None or now - self._begun_s > FRESH_S:
            self._begun_s, self._begun, self._lossy = now, (sent, lost), False
            return
        new_sent, new_lost = sent - self._begun[0], lost - self._begun[1]
        if new_sent >= LOSS_PACKETS:
            self._lossy = new_lost >= max(LOSS_COUNT, LOSS_SHARE * new_sent)
            self._begun_s, self._begun = now, (sent, lost)

    # -- what to think of it

    @property
    def rtt_s(self) -> float:
        """The path's round trip."""
        return self._rtt_s

    @property
    def silence_due_s(self) -> float | None:
        """When a question that waits becomes a reason."""
        if self._asked_s is None:
            return None
        return self._asked_s + max(UNANSWERED_S, UNANSWERED_RTTS * self._rtt_s)

    def silent_s(self, now: float) -> float:
        """How long a question has waited; 0: none does."""
        return 0.0 if self._asked_s is None else now - self._asked_s

    def reason(self, now: float) -> str:
        """Why to look around; "" if there is no reason."""
        due = self.silence_due_s
        if due is not None and now >= due:
            return SILENCE
        if self._lossy:
            return LOSS
        best_s = self._best_s if self._best_s is not None else self._rtt_s
        return DELAY if self._rtt_s > min(LONG_S, GROWN * best_s + GROWN_S) else ""
