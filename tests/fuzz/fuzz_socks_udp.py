"""Invariant: whatever a program sends to a SOCKS association ends in a target and a payload, or in RemoteProtocolError."""

from __future__ import annotations

from qsh.errors import RemoteProtocolError
from qsh.forward.socks_udp import parse_header

__all__ = ["fuzz_one"]

SEEDS = (
    b"\0\0\0\x01\x7f\0\0\x01\0\x35payload",
    b"\0\0\0\x03\x09localhost\0\x35payload",
    b"\0\0\0\x04" + bytes(15) + b"\x01\0\x35",
    b"\0\0\x01\x01\x7f\0\0\x01\0\x35fragment",
)


def fuzz_one(data: bytes) -> None:
    """As the listener does: the header alone says the same as the datagram."""
    try:
        header = parse_header(data)
    except RemoteProtocolError:
        return
    assert header.host
    assert header.host.isprintable()
    assert 1 <= header.port <= 65535
    assert 8 <= header.length <= len(data)
    assert data[2] == 0
    assert parse_header(data[: header.length]) == header
