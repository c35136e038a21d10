"""When to look at the terminal's state unasked: programs change it some time after a key, and say nothing. Sans-IO."""

from __future__ import annotations

from typing import Final

__all__ = ["TtyPolling"]

FIRST_S: Final = 0.010
LAST_S: Final = 0.250
GROWTH: Final = 2.0
"""A change is seen after twice the time that it took to come, at most. One in Python costs about a key: most are made
natively, while the process waits."""
TYPED_S: Final = 1.0
"""After the last key it is looked at for so long."""


class TtyPolling:
    """At intervals that grow, from each key on that a program gets to see."""

    def __init__(self) -> None:
        self.at: float | None = None
        """None: not before something happens."""
        self._typed_at = float("-inf")
        self._interval_s = FIRST_S

    def typed(self, now: float, *, seen: bool = True) -> None:
        """Keys went in. Not ``seen``: they only made a line longer, which no program has got yet."""
        self._typed_at = now
        if seen:
            self.soon(now)
        elif self.at is None:
            self._interval_s, self.at = LAST_S, now + LAST_S

    def soon(self, now: float) -> None:
        """The state is changing."""
        self._interval_s, self.at = FIRST_S, now + FIRST_S

    def due(self, now: float) -> bool:
        """Look now."""
        return self.at is not None and now >= self.at

    def looked(self, now: float, *, changed: bool = False) -> None:
        """That was done; what has ``changed`` may change on."""
        if now - self._typed_at >= TYPED_S:
            self.at = None
        elif changed:
            self.soon(now)
        else:
            self._interval_s = min(self._interval_s * GROWTH, LAST_S)
            self.at = now + self._interval_s

    def skip(self, now: float) -> None:
        """All looks that were due by ``now`` were made, and found nothing."""
        while self.at is not None and now >= self.at:
            self.looked(self.at)

    def ahead(self, now: float) -> tuple[float, float, float, float]:
        """For ``qsh._native.wait``: seconds to the next look, from the one before to it, and to where the first one behind is the
        last; the longest interval.
        """
        at = now if self.at is None else self.at
        return at - now, self._interval_s, self._typed_at + TYPED_S - now, LAST_S
