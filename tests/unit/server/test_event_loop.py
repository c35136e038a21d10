"""Waiting for events, and for terminals that change without one."""

from __future__ import annotations

import os
import pty
import termios
import threading
from typing import TYPE_CHECKING

import pytest

from qsh.server.event_loop import READ, EventLoop
from qsh.terminal.screen import look

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY_S = 86_400.0


@pytest.fixture
def master_and_user() -> Iterator[tuple[int, int]]:
    master, user = pty.openpty()
    yield master, user
    os.close(master)
    os.close(user)


def _echo_off(user: int) -> None:
    attributes = termios.tcgetattr(user)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(user, termios.TCSANOW, attributes)


def test_a_terminal_that_changes_ends_the_wait_by_itself(master_and_user: tuple[int, int]) -> None:
    master, user = master_and_user
    loop, before = EventLoop(), look(master)
    changes = threading.Thread(target=_echo_off, args=(user,))
    changes.start()
    assert loop.wait(DAY_S, [(master, before, 0.001, 0.001, DAY_S, 0.01)]) == (False, True)
    changes.join()
    assert look(master) != before
    loop.close()


def test_what_is_as_it_was_does_not_end_the_wait(master_and_user: tuple[int, int]) -> None:
    master, _ = master_and_user
    loop = EventLoop()
    watched = [(master, look(master), 0.001, 0.001, DAY_S, 0.002)]
    assert loop.wait(0.02, watched) == (False, False)
    loop.close()


def test_events_end_the_wait_and_the_first_goes_first(master_and_user: tuple[int, int]) -> None:
    master, _ = master_and_user
    loop, called = EventLoop(), list[int]()
    ends = [os.pipe() for _ in range(3)]
    for number, (reading, writing) in enumerate(ends):
        loop.watch(reading, READ, lambda _, number=number: called.append(number))
        os.write(writing, b"x")
    loop.first = ends[2][0]
    assert loop.wait(None, [(master, look(master), 0.5, 0.5, DAY_S, 0.5)]) == (True, False)
    assert called[0] == 2
    assert sorted(called) == [0, 1, 2]
    loop.close()
    for each in ends:
        for descriptor in each:
            os.close(descriptor)


def test_a_terminal_that_is_gone_does_not_change() -> None:
    master, user = pty.openpty()
    loop, before = EventLoop(), look(master)
    os.close(master)
    os.close(user)
    with pytest.raises(OSError, match="Bad file"):
        look(master)
    assert loop.wait(0.01, [(master, before, 0.001, 0.001, DAY_S, 0.002)]) == (False, False)
    loop.close()
