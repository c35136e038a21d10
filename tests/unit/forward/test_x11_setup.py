"""The setup of an X11 connection: what is read, compared and put in its place. tests/property has what may come at all."""

from __future__ import annotations

import pytest

from qsh.errors import RemoteProtocolError
from qsh.forward.x11_setup import Setup
from tests.support.x11 import MAGIC, setup

COOKIE = bytes(range(16))


def read(data: bytes) -> Setup:
    """As its caller does: never more than is needed."""
    found, at = Setup(), 0
    while found.needed:
        piece = data[at : at + found.needed]
        at += len(piece)
        found.receive(piece)
    return found


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("cookie", [COOKIE, b"odd", b"", b"x" * 256])
def test_the_cookie_is_replaced(order: str, cookie: bytes) -> None:
    found = read(setup(cookie, order=order) + b"behind")
    assert found.shows(MAGIC, cookie)
    assert not found.shows(MAGIC, cookie + b"x")
    assert not found.shows(b"XDM-AUTHORIZATION-1", cookie)
    assert found.with_cookie(b"OTHER", COOKIE) == setup(COOKIE, b"OTHER", order)


def test_a_cookie_that_begins_right_is_not_right() -> None:
    for shown in (COOKIE[:-1], COOKIE + b"\0", COOKIE[:-1] + b"x", b""):
        assert not read(setup(shown)).shows(MAGIC, COOKIE)


def test_nothing_is_shown_before_all_is_read() -> None:
    found = Setup()
    assert not found.shows(b"", b"")
    found.receive(setup(b"")[:12])
    assert not found.shows(b"", b"")


@pytest.mark.parametrize(
    "data",
    [b"", b"l", setup(COOKIE)[:12], setup(COOKIE)[:-1], b"L" * 12, b"\0" * 12, setup(b"x" * 257)],
)
def test_what_is_no_setup(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(data)


def test_no_more_than_was_asked_for() -> None:
    with pytest.raises(RemoteProtocolError):
        Setup().receive(setup(COOKIE))
