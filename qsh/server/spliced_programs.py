"""A login's programs whose bytes the front moves, and those that are only to be waited for."""

from __future__ import annotations

import os
import signal
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsh.server import program, signals
from qsh.server.event_loop import READ
from qsh.server.requests import CallEnded, HangUp, Resize, SendSignal

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.client_calls import Callee, ClientCalls
    from qsh.server.event_loop import EventLoop
    from qsh.server.signals import ProgramEnd

__all__ = ["SplicedProgram", "SplicedPrograms"]


@dataclass(slots=True)
class SplicedProgram:
    """One, from its start until it has been waited for."""

    channel: int
    """Below 0: no channel, nobody is told of its end."""
    pid: int
    pidfd: int
    master: int = -1
    callee: Callee | None = None
    calls: ClientCalls | None = None


class SplicedPrograms:
    """``on_end`` is called with the channel and how the program ended."""

    def __init__(self, loop: EventLoop, on_end: Callable[[int, ProgramEnd], None]) -> None:
        self._loop, self._on_end = loop, on_end
        self._programs: dict[int, SplicedProgram] = {}

    def __contains__(self, channel: int) -> bool:
        return channel in self._programs

    @property
    def channels(self) -> set[int]:
        """Of those that run."""
        return set(self._programs)

    def keep(self, started: SplicedProgram) -> None:
        """Until it has ended."""
        self._programs[started.channel] = started
        self._loop.watch(started.pidfd, READ, lambda _: self._reap(started))

    def wait_for(self, pid: int, pidfd: int) -> None:
        """Without a channel."""
        self.keep(SplicedProgram(self._unused(), pid, pidfd))

    def _unused(self) -> int:
        return min((channel for channel in self._programs if channel < 0), default=0) - 1

    def leave_channels(self) -> None:
        """They have been hung up, and another connection may use their numbers."""
        for found in [each for each in self._programs.values() if each.channel >= 0]:
            del self._programs[found.channel]
            found.channel = self._unused()
            self._programs[found.channel] = found

    def run(self, function: Callable[[], int]) -> None:
        """In a process of its own, that nobody talks to. Raises OSError."""
        started = program.start_function(function)
        for descriptor in (started.stdin, started.stdout, started.stderr):
            os.close(descriptor)
        self.wait_for(started.pid, started.pidfd)

    def take(self, request: Resize | SendSignal | HangUp | CallEnded) -> None:
        """What the front asks of one."""
        found = self._programs[request.channel]
        if isinstance(request, CallEnded):
            if found.callee is not None:
                found.callee.ended(request.kind)
        elif isinstance(request, Resize):
            if found.master >= 0:
                program.set_window(
                    found.master, request.rows, request.cols, request.xpixel, request.ypixel
                )
        elif isinstance(request, SendSignal):
            _signal(found, request.name)
        else:
            signals.hang_up(found.master, found.pid)

    def hang_up(self) -> None:
        """All of them."""
        for found in self._programs.values():
            signals.hang_up(found.master, found.pid)

    def _reap(self, found: SplicedProgram) -> None:
        pid, status = os.waitpid(found.pid, os.WNOHANG)
        if pid == 0:
            return
        del self._programs[found.channel]
        self._loop.forget(found.pidfd)
        os.close(found.pidfd)
        if found.calls is not None:
            found.calls.close()
        if found.master >= 0:
            os.close(found.master)
        self._on_end(found.channel, signals.end_of(status))


def _signal(found: SplicedProgram, name: str) -> None:
    if name == "BRK":
        if found.master >= 0:
            termios.tcsendbreak(found.master, 0)
    elif name in signals.SIGNALS:
        group = signals.foreground(found.master, found.pid)
        signals.kill_group(group, signal.Signals[f"SIG{name}"])
