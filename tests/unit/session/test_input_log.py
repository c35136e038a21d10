"""Typed bytes, taken once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.errors import RemoteProtocolError
from qsh.session.input_log import ClientInput, InputLog

TEXT = bytes(range(200))
WAYS = st.lists(st.tuples(st.booleans(), st.integers(0, 220), st.integers(0, 60)), max_size=60)


@given(WAYS)
def test_input_is_taken_once_and_in_order(ways: list[tuple[bool, int, int]]) -> None:
    """Pieces of a text come by stream or datagram, again, too early, overlapping: what is taken is always a beginning of it."""
    typed, taken = ClientInput(), b""
    for by_stream, offset, length in ways:
        piece = TEXT[offset : offset + length]
        before = typed.received
        if by_stream and offset > before:
            with pytest.raises(RemoteProtocolError, match="input-gap"):
                typed.from_stream(offset, piece)
            continue
        taken += (typed.from_stream if by_stream else typed.from_datagram)(offset, piece)
        if offset <= before:
            assert typed.received >= min(offset + length, len(TEXT))
    assert taken == TEXT[: typed.received]


def test_settled_follows_the_marks() -> None:
    typed = ClientInput()
    typed.from_stream(0, b"abcdef")
    typed.wrote(2, 10)
    typed.wrote(3, 20)
    assert typed.applied == 5
    assert not typed.settle(9)
    assert typed.settle(10)
    assert typed.settled == 2
    assert typed.settle(99)
    assert typed.settled == 5


def test_many_writes_without_settling_take_no_memory() -> None:
    typed = ClientInput()
    for mark in range(10_000):
        typed.wrote(1, mark)
    assert len(typed._marks) <= 256
    typed.settle(10_000)
    assert typed.settled == 10_000


def test_the_last_clients_are_remembered_and_those_who_are_here_always() -> None:
    log = InputLog(2)
    here = log.enter(b"here")
    for number in range(5):
        log.enter(b"%d" % number).received = 7
        log.leave(b"%d" % number)
    assert log.enter(b"here") is here
    assert [log.enter(b"%d" % number).received for number in (4, 3, 2, 1, 0)] == [7, 7, 0, 0, 0]
