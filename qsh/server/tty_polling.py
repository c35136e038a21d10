"""When to look at the terminal's state unasked: programs change it some time after a key, and say nothing. Sans-IO."""

from __future__ import annotations

from typing import Final

__all__ = ["TtyPolling"]

FIRST_S: Final = 0.010
LAST_S: Final = 0.050
GROWTH: Final = 1.5
TYPED_S: Final = 1.0
"""After the last key it is looked at for so long."""


class TtyPolling:
    """At intervals that grow, from each key on."""

    def __init__(self) -> None:
        self.at: float | None = None
        """None: not before something happens."""
        self._typed_at = float("-inf")
        self._interval_s = FIRST_S

    def typed(self, now: float) -> None:
        """Keys went in."""
        self._typed_at = now
        self._interval_s = FIRST_S
        self.at = now + FIRST_S

    def soon(self, now: float) -> None:
        """The state is changing."""
        self.at = now + FIRST_S

    def due(self, now: float) -> bool:
        """Look now."""
        return self.at is not None and now >= self.at

    def looked(self, now: float) -> None:
        """That was done."""
        if now - self._typed_at < TYPED_S:
            self.at = now + self._interval_s
            self._interval_s = min(self._interval_s * GROWTH, LAST_S)
        else:
            self.at = None
