"""Packets in a stream of bytes (docs/protocol.md 15.5): each behind its length, 16 bits, big-endian."""

from __future__ import annotations

from typing import Final

__all__ = ["GREETING", "MAX_PACKET", "PacketReader", "frame"]

GREETING: Final = b"qsh/1 packets\r\n\r\n"
"""What both sides of a stream that is not SSH's say first (docs/protocol.md 15.1)."""

MAX_PACKET: Final = 0xFFFF
_HEADER: Final = 2


def frame(packet: bytes) -> bytes:
    """The packet with its length in front."""
    return len(packet).to_bytes(_HEADER, "big") + packet


class PacketReader:
    """Takes the stream as it comes; keeps what is not yet complete, 64 KiB at most."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are complete now. Empty ones are nothing."""
        data = self._rest + data
        found, at = [], 0
        while at + _HEADER <= len(data):
            end = at + _HEADER + int.from_bytes(data[at : at + _HEADER], "big")
            if end > len(data):
                break
            if end > at + _HEADER:
                found.append(data[at + _HEADER : end])
            at = end
        self._rest = data[at:]
        return found
