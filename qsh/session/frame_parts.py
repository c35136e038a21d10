"""A painting in datagrams (docs/protocol.md 10.13): cut on the one side, put together on the other. No I/O."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from qsh.wire.terminal import MAX_FRAME, MAX_PARTS, PART_DATA, FramePart

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FrameParts", "cut"]

LEVEL: Final = 1
"""zlib's fastest: a large screen in less than a millisecond."""


def cut(
    painting: bytes, start: int, offset: int, number: int, skipped: tuple[int, int] = (0, 0)
) -> list[FramePart]:
    """The datagrams that bring ``painting``, which shows the output up to ``offset``; none if they were too many."""
    data = zlib.compress(painting, LEVEL)
    pieces = [data[at : at + PART_DATA] for at in range(0, len(data), PART_DATA)]
    if len(pieces) > MAX_PARTS or len(painting) > MAX_FRAME:
        return []
    return [
        FramePart(start, offset, number, index, len(pieces), piece, *skipped)
        for index, piece in enumerate(pieces)
    ]


class FrameParts:
    """Collects the parts of the newest painting."""

    def __init__(self) -> None:
        self._number = -1
        self._parts: dict[int, FramePart] = {}

    def receive(self, part: FramePart) -> bytes | None:
        """The painting, once all of it is here. What does not fit together is dropped."""
        if part.number < self._number or part.index >= part.count:
            return None
        if part.number > self._number:
            self._number, self._parts = part.number, {}
        for other in self._parts.values():
            if (other.offset, other.count) != (part.offset, part.count):
                return None
            break
        if part.index in self._parts:
            return None
        self._parts[part.index] = part
        if len(self._parts) < part.count:
            return None
        return _inflated([self._parts[index].data for index in range(part.count)])


def _inflated(pieces: Sequence[bytes]) -> bytes | None:
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(b"".join(pieces), MAX_FRAME)
    except zlib.error:
        return None
    return data if unpacking.eof else None
