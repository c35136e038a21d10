"""Pouring bytes into a terminal that takes a few at a time."""

from __future__ import annotations

import errno
import os
import pty
import threading
import tty
from typing import TYPE_CHECKING

import pytest

from qsh.terminal.screen import pour

if TYPE_CHECKING:
    from collections.abc import Iterator

PLENTY_US = 60_000_000


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """What is written to the second comes out of the first."""
    master, user = pty.openpty()
    tty.setraw(user)
    os.set_blocking(user, False)
    yield master, user
    os.close(master)
    os.close(user)


def test_all_is_written_while_somebody_reads(pair: tuple[int, int]) -> None:
    master, user = pair
    data = bytes(range(256)) * 1000
    found = bytearray()

    def read() -> None:
        while len(found) < len(data):
            found.extend(os.read(master, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    done = 0
    while done < len(data):
        done += pour(user, data, done, PLENTY_US)
    reader.join()
    assert found == data


def test_nobody_is_waited_for_who_does_not_read(pair: tuple[int, int]) -> None:
    master, user = pair
    data = b"x" * 1_000_000
    first = pour(user, data, 0, PLENTY_US)
    assert 0 < first < len(data)
    assert pour(user, data, first, PLENTY_US) == 0
    assert os.read(master, 65536)
    assert pour(user, data, first, PLENTY_US) > 0


def test_ends_and_errors() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    assert pour(write, b"abc", 1, 0) == 2
    assert os.read(read, 10) == b"bc"
    assert pour(write, b"abc", 3, 0) == 0
    assert pour(write, b"abc", 7, 0) == 0
    os.close(read)
    with pytest.raises(BrokenPipeError):
        pour(write, b"abc", 0, PLENTY_US)
    os.close(write)
    for descriptor in (write, -1):
        with pytest.raises(OSError, match="descriptor") as raised:
            pour(descriptor, b"abc", 0, PLENTY_US)
        assert raised.value.errno == errno.EBADF
