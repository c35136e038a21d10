"""What the user typed and the host has not acknowledged, by absolute offset, sans-IO (docs/protocol.md 10.4, 10.6).

The log outlives connections: what a lost one has not delivered, the next one sends again from the offset that the host names.
"""

from __future__ import annotations

from qsh.errors import RemoteProtocolError

__all__ = ["TypedLog"]


class TypedLog:
    """Input of one client. Bytes [:attr:`start`, :attr:`end`) are kept."""

    def __init__(self) -> None:
        self.start = 0
        """Offset of the first byte that is not acknowledged."""
        self._data = bytearray()

    def __len__(self) -> int:
        """Bytes not acknowledged."""
        return len(self._data)

    @property
    def end(self) -> int:
        """Offset of the next byte to be typed."""
        return self.start + len(self._data)

    def append(self, data: bytes) -> int:
        """Keep ``data``; the offset of its first byte."""
        offset = self.end
        self._data += data
        return offset

    def acknowledged(self, offset: int) -> bool:
        """The host has written everything before ``offset``; True if that is news. An old or repeated word changes nothing.

        Raises RemoteProtocolError (``input-ahead``): more than was ever typed.
        """
        if offset <= self.start:
            return False
        if offset > self.end:
            raise RemoteProtocolError("input-ahead", f"{offset} of {self.end} bytes")
        del self._data[: offset - self.start]
        self.start = offset
        return True

    def since(self, offset: int) -> bytes:
        """Bytes from ``offset`` on.

        Raises RemoteProtocolError: ``input-gap`` (it was acknowledged, and is forgotten), ``input-ahead``.
        """
        if offset < self.start:
            raise RemoteProtocolError("input-gap", f"asked for {offset}, kept from {self.start}")
        if offset > self.end:
            raise RemoteProtocolError("input-ahead", f"{offset} of {self.end} bytes")
        return bytes(self._data[offset - self.start :])
