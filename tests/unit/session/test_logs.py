"""Output by offset, and input exactly once under any mix of ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.errors import RemoteProtocolError
from qsh.session.input_log import ClientInput, InputLog
from qsh.session.output_log import OutputLog


@given(
    st.lists(st.binary(max_size=60_000), max_size=30), st.integers(0, 1 << 20), st.integers(0, 99)
)
def test_the_log_gives_back_what_it_was_given(parts: list[bytes], at: int, length: int) -> None:
    log = OutputLog(100_000)
    for part in parts:
        log.append(part)
    whole = b"".join(parts)
    assert log.end == len(whole)
    assert log.start == max(0, len(whole) - 100_000)
    offset = log.start + at % (log.end - log.start + 1)
    assert log.read(offset, length) == whole[offset : offset + length]
    assert log.read(log.start, 1 << 20) == whole[log.start :]


@pytest.mark.parametrize("offset", [0, 9, 31])
def test_what_is_gone_or_to_come_cannot_be_read(offset: int) -> None:
    log = OutputLog(20)
    log.append(bytes(30))
    with pytest.raises(ValueError, match="holds 10 to 30"):
        log.read(offset, 1)


def test_an_empty_log_holds_nothing_and_a_full_one_not_much_more_than_its_size() -> None:
    log = OutputLog(100_000)
    assert log._blocks == type(log._blocks)()
    for _ in range(50_000):
        log.append(bytes(7))
    held = sum(len(block) for block in log._blocks) + len(log._tail)
    assert 100_000 <= held < 140_000


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
