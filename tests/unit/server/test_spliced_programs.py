"""Programs that are started, signalled and waited for."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from qsh.server import program
from qsh.server.event_loop import EventLoop
from qsh.server.requests import CallEnded, HangUp, Resize, SendSignal
from qsh.server.signals import ProgramEnd
from qsh.server.spliced_programs import SplicedProgram, SplicedPrograms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT_S = 10.0


class Played:
    """Programs on a loop that a test turns."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.ends: list[tuple[int, ProgramEnd]] = []
        self.programs = SplicedPrograms(self.loop, lambda *end: self.ends.append(end))

    def start(self, channel: int, function: Callable[[], int]) -> SplicedProgram:
        started = program.start_function(function)
        for descriptor in (started.stdin, started.stdout, started.stderr):
            os.close(descriptor)
        kept = SplicedProgram(channel, started.pid, started.pidfd)
        self.programs.keep(kept)
        return kept

    def until(self, count: int) -> list[tuple[int, ProgramEnd]]:
        deadline = time.monotonic() + LIMIT_S
        while len(self.ends) < count:
            assert time.monotonic() < deadline
            self.loop.wait(1.0)
        return self.ends


@pytest.fixture
def played() -> Iterator[Played]:
    made = Played()
    yield made
    made.programs.hang_up()
    made.until(len(made.ends) + len(made.programs.channels))
    made.loop.close()


def sleep() -> int:
    time.sleep(1000)
    return 0


def test_the_end_is_told_with_its_channel(played: Played) -> None:
    played.start(4, lambda: 7)
    assert 4 in played.programs
    assert played.until(1) == [(4, ProgramEnd(7, None, False))]
    assert 4 not in played.programs


def test_a_signal_ends_it(played: Played) -> None:
    started = played.start(8, sleep)
    for harmless in (
        Resize(8, 24, 80),
        CallEnded(8, "agent"),
        SendSignal(8, "BRK"),
        SendSignal(8, "?"),
    ):
        played.programs.take(harmless)
    played.programs.take(SendSignal(8, "KILL"))
    assert played.until(1) == [(8, ProgramEnd(None, "KILL", False))]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(started.pidfd)


def test_hanging_up_one_leaves_the_others(played: Played) -> None:
    played.start(4, sleep)
    played.start(8, sleep)
    played.programs.take(HangUp(8))
    assert [channel for channel, _ in played.until(1)] == [8]
    assert played.programs.channels == {4}


def test_what_is_only_waited_for_has_a_number_of_its_own(played: Played) -> None:
    played.programs.run(sleep)
    played.programs.run(sleep)
    assert played.programs.channels == {-1, -2}
