"""Invariant: whatever a program says to a forwarded display ends in a setup, a wait or RemoteProtocolError, and little is held.

No more is read than the setup, and what goes to the display instead is well-formed whatever came.
"""

from __future__ import annotations

from qsh.errors import RemoteProtocolError
from qsh.forward.x11_setup import Setup
from tests.support.x11 import MAGIC, setup

__all__ = ["fuzz_one"]

SEEDS = (
    setup(bytes(range(16))) + b"more",
    setup(b"secret", b"XDM-AUTHORIZATION-1", ">"),
    setup(b"", b""),
    b"l" + b"\xff" * 40,
)
MOST_NEEDED = 512
COOKIE = b"0123456789abcdef"


def fuzz_one(data: bytes) -> None:
    """Read as its caller does: never more than is needed."""
    found, at = Setup(), 0
    try:
        while found.needed:
            assert found.needed <= MOST_NEEDED
            piece = data[at : at + found.needed]
            at += len(piece)
            found.receive(piece)
    except RemoteProtocolError:
        assert not found.shows(MAGIC, COOKIE)
        return
    order = ">" if data[:1] == b"B" else "<"
    instead = found.with_cookie(MAGIC, COOKIE)
    assert instead[12:] == setup(COOKIE, MAGIC, order)[12:]
    assert instead[:6] == data[:6]
    if found.shows(MAGIC, COOKIE):
        assert data[at - 16 : at] == COOKIE
