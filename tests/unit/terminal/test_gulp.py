"""One gulp of a terminal's master side."""

from __future__ import annotations

import os
import pty
import tty
from typing import TYPE_CHECKING

import pytest

from qsh.terminal.screen import gulp

if TYPE_CHECKING:
    from collections.abc import Iterator

MORE, NOTHING, END = 0, 1, 2


@pytest.fixture
def pair() -> Iterator[list[int]]:
    """Master and user side; who closes one takes it off."""
    ends = list(pty.openpty())
    tty.setraw(ends[1])
    os.set_blocking(ends[0], False)
    yield ends
    for end in ends:
        os.close(end)


def test_many_reads_make_one_gulp(pair: list[int]) -> None:
    master, user = pair
    assert gulp(master, 65536) == (b"", NOTHING)
    text = bytes(range(256)) * 24  # more than one read(2) of a terminal gives
    os.write(user, text)
    found = b""
    while len(found) < len(text):
        data, behind = gulp(master, 65536)
        assert behind == NOTHING
        found += data
    assert found == text


def test_no_more_than_asked_for(pair: list[int]) -> None:
    master, user = pair
    os.write(user, b"abcdef")
    while not (first := gulp(master, 4))[0]:
        pass
    assert first == (b"abcd", MORE)
    assert gulp(master, 4) == (b"ef", NOTHING)
    assert gulp(master, 0) == (b"", MORE)


def test_the_end_comes_behind_what_was_written(pair: list[int]) -> None:
    master, user = pair
    os.write(user, b"last")
    os.close(user)
    pair.pop()
    found, behind = b"", NOTHING
    while behind == NOTHING:
        data, behind = gulp(master, 65536)
        found += data
    assert (found, behind) == (b"last", END)
    assert gulp(-1, 10) == (b"", END)
