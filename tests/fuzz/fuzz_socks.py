"""Invariant: whatever a program says to a SOCKS port ends in a target, a wait or RemoteProtocolError, and little is held.

A target is a host that could be one, and no more is read than the request: what is needed next is never more than a byte counts.
"""

from __future__ import annotations

from qsh.errors import RemoteProtocolError
from qsh.forward.socks import Negotiation

__all__ = ["fuzz_one"]

SEEDS = (
    b"\x05\x01\x00\x05\x01\x00\x03\x09localhost\x00\x50data",
    b"\x05\x02\x00\x02\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
    b"\x05\x01\x00\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50",
    b"\x04\x01\x00\x50\x7f\x00\x00\x01anna\x00data",
    b"\x04\x01\x00\x50\x00\x00\x00\x01anna\x00localhost\x00data",
)
MOST_NEEDED = 255


def fuzz_one(data: bytes) -> None:
    """Read as its caller does: never more than is needed."""
    socks, at = Negotiation(), 0
    try:
        while socks.needed:
            assert socks.needed <= MOST_NEEDED
            piece = data[at : at + socks.needed]
            at += len(piece)
            socks.receive(piece)
    except RemoteProtocolError:
        assert socks.target is None
        assert len(socks.refusal) <= 10
        return
    assert socks.target is not None
    host, port = socks.target
    assert host
    assert host.isprintable()
    assert 0 <= port <= 65535
    assert socks.rest == b""
