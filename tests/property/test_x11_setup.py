"""X11 setups: whatever comes, cut anywhere, ends in a setup or RemoteProtocolError; the cuts make no difference."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qsh.errors import RemoteProtocolError
from qsh.forward.x11_setup import Setup
from tests.support.x11 import setup

texts = st.binary(max_size=256)
orders = st.sampled_from("<>")


def fed(data: bytes, sizes: list[int]) -> bytes | None:
    """What the display would see."""
    found, at, turn = Setup(), 0, 0
    try:
        while found.needed:
            size = min(found.needed, sizes[turn % len(sizes)] if sizes else found.needed)
            found.receive(data[at : at + size])
            at, turn = at + size, turn + 1
    except RemoteProtocolError:
        return None
    return found.with_cookie(b"P", b"C")


@given(st.binary(max_size=700), st.lists(st.integers(1, 300), max_size=8))
def test_cuts_make_no_difference(data: bytes, sizes: list[int]) -> None:
    assert fed(data, sizes) == fed(data, [])


@given(texts, texts, orders, texts, texts)
def test_what_is_put_in_its_place(
    protocol: bytes, cookie: bytes, order: str, other: bytes, secret: bytes
) -> None:
    found = Setup()
    data, at = setup(cookie, protocol, order), 0
    while found.needed:
        size = found.needed
        found.receive(data[at : at + size])
        at += size
    assert at == len(data)
    assert found.shows(protocol, cookie)
    assert found.shows(other, secret) is ((other, secret) == (protocol, cookie))
    assert found.with_cookie(other, secret) == setup(secret, other, order)
