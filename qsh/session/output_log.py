"""The newest bytes that a terminal put out, by absolute offset (docs/protocol.md 10.4)."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["OutputLog"]

CAPACITY: Final = 1 << 17
"""More than a client that comes back is sent, and than one reading of the terminal."""
BLOCK: Final = 16 * 1024
"""Small pieces are gathered into blocks of this size, so that a key's echo does not cost an object."""


class OutputLog:
    """A ring of ``capacity`` bytes that takes memory only for what it holds."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._blocks: deque[bytes] = deque()
        self._start = 0
        """Offset of the first block's first byte."""
        self._sealed = 0
        """Offset behind the last block."""
        self._tail = bytearray()

    @property
    def start(self) -> int:
        """Offset of the oldest byte that is still here."""
        return max(self._start, self.end - self._capacity)

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        return self._sealed + len(self._tail)

    def append(self, data: bytes) -> None:
        """Add the next bytes; the oldest leave."""
        if not self._tail and len(data) >= BLOCK:
            self._seal(data)
        else:
            self._tail += data
            if len(self._tail) >= BLOCK:
                self._seal(bytes(self._tail))
                self._tail.clear()
        oldest = self.end - self._capacity
        while self._blocks and self._start + len(self._blocks[0]) <= oldest:
            self._start += len(self._blocks.popleft())

    def _seal(self, block: bytes) -> None:
        self._blocks.append(block)
        self._sealed += len(block)

    def read(self, offset: int, limit: int) -> bytes:
        """Up to ``limit`` bytes from ``offset`` on, less at the end. Raises ValueError for what is gone or yet to come."""
        if not self.start <= offset <= self.end:
            raise ValueError(f"offset {offset}: the log holds {self.start} to {self.end}")
        end = min(offset + limit, self.end)
        if offset >= self._sealed:  # nearly always: what came last
            return bytes(self._tail[offset - self._sealed : end - self._sealed])
        parts: list[bytes | bytearray] = []
        at = self._sealed
        if end > at:
            parts.append(self._tail[: end - at])
        for block in reversed(self._blocks):
            at -= len(block)
            if at < end:
                parts.append(block[max(0, offset - at) : end - at])
            if at <= offset:
                break
        parts.reverse()
        return b"".join(parts)
