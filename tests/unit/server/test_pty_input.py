"""Typed bytes on their way into a terminal that may be full, or gone."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from qsh.server.pty_input import PtyInput
from qsh.session.input_log import ClientInput

if TYPE_CHECKING:
    from collections.abc import Iterator


def client() -> Any:
    return cast("Any", SimpleNamespace(input=ClientInput()))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    os.set_blocking(write, False)
    yield read, write
    os.close(read)
    os.close(write)


def test_bytes_go_in_the_order_of_their_arrival(pipe: tuple[int, int]) -> None:
    first, second = client(), client()
    heard: list[bytes] = []
    typed = PtyInput(pipe[1])
    typed.put(first, b"ab")
    typed.put(None, b"answer")
    typed.put(second, b"cd")
    typed.put(first, b"e")
    assert typed.size == 11
    assert typed.write(heard.append) == [first, second]
    assert os.read(pipe[0], 100) == b"abanswercde"
    assert heard == [b"ab", b"cd", b"e"]  # an answer is not a key
    assert (typed.size, typed.mark) == (0, 11)
    assert (first.input.applied, second.input.applied) == (3, 2)


def test_what_the_terminal_does_not_take_waits(pipe: tuple[int, int]) -> None:
    one = client()
    typed = PtyInput(pipe[1])
    typed.put(one, b"x" * 1_000_000)
    assert typed.write(None) == [one]
    taken = one.input.applied
    assert 0 < taken < 1_000_000
    assert typed.size == 1_000_000 - taken
    assert typed.write(None) == []
    os.read(pipe[0], 65536)
    assert typed.write(None) == [one]
    assert one.input.applied == typed.mark > taken


def test_a_terminal_that_is_hung_up_takes_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    typed = PtyInput(write)
    typed.put(client(), b"x")
    assert typed.write(None) == []
    assert typed.size == 0
    os.close(write)
