"""Whether a client was out of reach, and for how long after that what is lost in the stream is brought by datagrams."""

from __future__ import annotations

from typing import Final

__all__ = ["Outage"]

SILENCE_S: Final = 1.0
SILENCE_RTTS: Final = 3
"""A client that is heard of again after so long, and had not told what it was sent before, was out of reach."""
OVERTAKE_RTTS: Final = 5
OVERTAKE_MIN_S: Final = 0.2
"""After an outage the stream brings first what was lost in it: for so long datagrams overtake it."""


class Outage:
    """Of one client's connection."""

    def __init__(self, now: float) -> None:
        self._heard_at = now
        self._until = float("-inf")

    def heard(self, now: float, oldest_at: float | None, rtt_s: float) -> bool:
        """Something has come: whether it ends an outage. ``oldest_at``: when what is not acknowledged was first sent."""
        silent_s = max(SILENCE_S, SILENCE_RTTS * rtt_s)
        before, self._heard_at = self._heard_at, now
        return oldest_at is not None and now - max(before, oldest_at) >= silent_s

    def ended(self, now: float, rtt_s: float) -> None:
        """From now on datagrams overtake the stream."""
        self._until = now + max(OVERTAKE_MIN_S, OVERTAKE_RTTS * rtt_s)

    def overtaking(self, now: float) -> bool:
        """Datagrams bring what the stream brings late."""
        return now < self._until
