"""How much of a terminal's output may be read while no client holds it back: more would only cost processor time. Sans-IO."""

from __future__ import annotations

from typing import Final

__all__ = ["ReadAllowance"]

BYTES_S: Final = 8e6
BURST: Final = 512 * 1024


class ReadAllowance:
    """Tokens, one a byte, that come with time."""

    def __init__(self, now: float) -> None:
        self._tokens, self._at = float(BURST), now

    def bytes(self, now: float) -> int:
        """That may be read now."""
        self._tokens = min(self._tokens + (now - self._at) * BYTES_S, BURST)
        self._at = now
        return int(self._tokens)

    def took(self, size: int) -> None:
        """So much was read."""
        self._tokens -= size

    def wait_s(self, wanted: int) -> float | None:
        """Until about ``wanted`` bytes may be read; None: some may be now."""
        return wanted / BYTES_S if self._tokens < 1 else None
