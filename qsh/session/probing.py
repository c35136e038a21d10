"""How often a client that waits for any word asks whether the path is back (docs/protocol.md 10.9). No I/O.

The sooner a probe passes after an outage, the sooner the host knows that the client can be reached again: what the user waits
for then begins with it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Probing"]

FIRST_S: Final = 0.1
ROUND_TRIPS: Final = 1.5
"""An answer may take so long, but at least ``FIRST_S``, before anything is wrong."""
SCHEDULE: Final = ((60.0, 0.04), (660.0, 0.25))
"""Up to an age of the silence, the interval: 25 probes of about 90 bytes a second stay below 32 kbit/s."""
LATE_S: Final = 1.0
"""And after that."""


class Probing:
    """The schedule of one client. Times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._next_at = 0.0
        self._rtt_s = 0.0

    def rtt(self, rtt_s: float) -> None:
        """The path's round trip."""
        self._rtt_s = rtt_s

    def asked(self, now: float) -> None:
        """Something that wants an answer has left, after which nothing has been heard yet."""
        if self._since is None:
            self._since = now
            self._next_at = now + max(FIRST_S, ROUND_TRIPS * self._rtt_s)

    def heard(self) -> None:
        """Anything came."""
        self._since = None

    def probed(self, now: float) -> None:
        """A probe was sent."""
        if self._since is None:
            return
        age_s = now - self._since
        self._next_at = now + next(
            (interval_s for limit_s, interval_s in SCHEDULE if age_s < limit_s), LATE_S
        )

    @property
    def deadline(self) -> float | None:
        """When a probe is due; None: nothing is waited for."""
        return None if self._since is None else self._next_at

    def due(self, now: float) -> bool:
        """Whether a probe is to go now."""
        return self._since is not None and now >= self._next_at
