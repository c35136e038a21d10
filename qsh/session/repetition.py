"""When to send a datagram again that is not acknowledged (docs/protocol.md 10.9). Used by both sides.

The owner keeps what is unacknowledged and puts all of it into every datagram, so a new one repeats the old ones. It calls
:meth:`Repetition.sent` for each, asks :attr:`Repetition.deadline` when the next copy is due, sends it then, calls
:meth:`Repetition.repeated`, and :meth:`Repetition.acknowledged` when nothing is left.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Repetition"]

FIRST_MAX_S: Final = 0.030
FIRST_MIN_S: Final = 0.005
"""On a short path the acknowledgement itself takes some milliseconds: the peer gathers for up to 10."""
GROWTH: Final = 1.5
CAP_S: Final = 0.1
CAP_OLD_S: Final = 1.0
OLD_S: Final = 1.0
"""So long after the first copy the path is taken for interrupted."""
EARLY_S: Final = 0.008
LOSSY_PPM: Final = 5_000
"""0.5 %: above it one copy goes ``EARLY_S`` after the first."""
BUDGET_BYTES_S: Final = 4_000.0
"""32 kbit/s of copies, at least."""
BUDGET_SHARE: Final = 0.1
"""Or this part of the delivery rate, if that is more."""
BURST_S: Final = 0.5
"""Copies may use so much of the budget at once."""
DEFAULT_RTT_S: Final = 0.1


class Repetition:
    """The schedule of one direction of one flow. Times are seconds of a clock that never goes back."""

    def __init__(self, now: float) -> None:
        self._rtt_s = DEFAULT_RTT_S
        self._loss_ppm = 0
        self._budget_bytes_s = BUDGET_BYTES_S
        self._tokens = BUDGET_BYTES_S * BURST_S
        self._filled_at = now
        self._first_at: float | None = None
        """When the oldest thing that is unacknowledged was sent first; None: there is none."""
        self._next_at = now
        self._interval_s = FIRST_MAX_S
        self._early = False
        """The next copy is the early one."""
        self._size = 0

    # -- the path ------------------------------------------------------------------------------

    def rtt(self, rtt_s: float) -> None:
        """The path's round-trip time, seconds."""
        self._rtt_s = rtt_s

    def loss(self, ppm: int) -> None:
        """The path's loss, lost packets of a million sent."""
        self._loss_ppm = ppm

    def rate(self, bytes_s: float) -> None:
        """The path's delivery rate, bytes a second; a tenth of it may go into copies."""
        self._budget_bytes_s = max(BUDGET_BYTES_S, bytes_s * BUDGET_SHARE)

    # -- what happened -------------------------------------------------------------------------

    def sent(self, now: float, size: int = 0) -> None:
        """A datagram of ``size`` bytes with something new in it was sent: the intervals begin anew."""
        if self._first_at is None:
            self._first_at = now
        self._size = size
        self._interval_s = max(FIRST_MIN_S, min(self._rtt_s / 4, FIRST_MAX_S))
        self._early = self._loss_ppm > LOSSY_PPM and self._interval_s > EARLY_S
        self._next_at = now + (EARLY_S if self._early else self._interval_s)

    def repeated(self, now: float, size: int = 0) -> None:
        """A copy was sent."""
        if self._first_at is None:
            return
        self._fill(now)
        self._tokens -= size
        self._size = size
        if self._early:
            self._early = False
            self._next_at = now + max(self._interval_s - EARLY_S, FIRST_MIN_S)
            return
        cap_s = CAP_S if now - self._first_at < OLD_S else CAP_OLD_S
        self._interval_s = min(self._interval_s * GROWTH, cap_s)
        self._next_at = now + self._interval_s

    def progressed(self, now: float) -> None:
        """A part was acknowledged: the path works, what is left is young."""
        if self._first_at is not None:
            self._first_at = now

    def hasten(self, now: float) -> None:
        """The path works again after an interruption: the next copy goes now, if anything is left."""
        if self._first_at is not None:
            self._first_at = self._next_at = now
            self._interval_s = max(FIRST_MIN_S, min(self._rtt_s / 4, FIRST_MAX_S))

    def acknowledged(self, now: float) -> None:
        """Nothing is left to repeat."""
        self._fill(now)
        self._first_at = None

    # -- what to do ----------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When a copy is due, within the budget; None: nothing is unacknowledged."""
        if self._first_at is None:
            return None
        lacking = self._size - self._tokens
        if lacking <= 0:
            return self._next_at
        return max(self._next_at, self._filled_at + lacking / self._budget_bytes_s)

    def due(self, now: float) -> bool:
        """Whether a copy is to go now."""
        deadline = self.deadline
        return deadline is not None and now >= deadline

    def _fill(self, now: float) -> None:
        elapsed_s = max(0.0, now - self._filled_at)
        full = self._budget_bytes_s * BURST_S
        self._tokens = min(full, self._tokens + elapsed_s * self._budget_bytes_s)
        self._filled_at = now
