"""When the terminal gets a client's new window size: after the keys typed before it, not too often, and not too late. Sans-IO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qsh.wire.terminal import Resized

__all__ = ["ResizePace"]

WAIT_S: Final = 0.5
"""For keys that were typed before it and are not applied."""
PACE_S: Final = 0.016
HURRY_S: Final = 0.25
HURRY_MAX: Final = 8


class ResizePace:
    """The newest size that a client has asked for, until it is its turn."""

    def __init__(self, now: float) -> None:
        self._wanted: Resized | None = None
        self._limit = 0.0
        self._last_at = float("-inf")
        self._hurry_from, self._hurried = now, 0

    def ask(self, now: float, wanted: Resized) -> None:
        """The client's window has another size."""
        if self._wanted is None:
            self._limit = now + WAIT_S
        self._wanted = wanted

    def due(self, now: float, applied: int) -> Resized | None:
        """What is to be applied now, if anything; ``applied``: input that is in the terminal."""
        if self._wanted is None:
            return None
        paced = now >= self._last_at + PACE_S
        if now >= self._limit or (paced and applied >= self._wanted.input_offset):
            return self._take(now)
        return None

    def before_typed(self, now: float, applied: int) -> Resized | None:
        """The same when keys come behind it: a window that is drawn larger waits for no pace then; a storm of them does."""
        if self._wanted is None or applied < self._wanted.input_offset:
            return None
        if now >= self._hurry_from + HURRY_S:
            self._hurry_from, self._hurried = now, 0
        self._hurried += 1
        return self._take(now) if self._hurried <= HURRY_MAX else None

    def _take(self, now: float) -> Resized | None:
        wanted, self._wanted = self._wanted, None
        self._last_at = now
        return wanted

    def deadline(self, applied: int) -> float | None:
        """When to ask again, if nothing happens."""
        if self._wanted is None:
            return None
        soon = applied >= self._wanted.input_offset
        return self._last_at + PACE_S if soon else self._limit
