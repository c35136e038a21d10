"""The number in front of every datagram: whose it is (docs/protocol.md 10.2), a QUIC varint (RFC 9000 16)."""

from __future__ import annotations

__all__ = ["prefix", "split"]


def prefix(flow: int) -> bytes:
    """The shortest encoding of ``flow``, 0 to 2**62 - 1."""
    for size, limit in ((1, 1 << 6), (2, 1 << 14), (4, 1 << 30), (8, 1 << 62)):
        if 0 <= flow < limit:
            return (flow | (size.bit_length() - 1) << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(f"no flow has the number {flow}")


def split(datagram: bytes) -> tuple[int, bytes] | None:
    """The flow and the rest; None if the number is cut off."""
    if not datagram:
        return None
    size = 1 << (datagram[0] >> 6)
    if len(datagram) < size:
        return None
    number = int.from_bytes(datagram[:size], "big") & (1 << (8 * size - 2)) - 1
    return number, datagram[size:]
