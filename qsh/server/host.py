"""The session host: runs as the user, holds the terminals and programs of one login (docs/architecture.md 2.1).

It starts programs, hands the front descriptors of their input and output (bytes never pass through here), passes on window
sizes and signals, and reports exits. When the front hangs up, every program gets SIGHUP and the host ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import struct
import termios
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qsh.errors import RemoteProtocolError
from qsh.server import program
from qsh.server.requests import (
    ChannelFailed,
    ChannelOpened,
    Exited,
    HangUp,
    HostRequest,
    OpenChannel,
    Resize,
    SendSignal,
    TerminalLogin,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.packets import PacketSocket
    from qsh.server.session_rules import SessionRules

__all__ = ["SessionHost"]

SIGNALS: Final = frozenset(
    (
        "ABRT",
        "ALRM",
        "FPE",
        "HUP",
        "ILL",
        "INT",
        "KILL",
        "PIPE",
        "QUIT",
        "SEGV",
        "TERM",
        "USR1",
        "USR2",
    )
)
"""RFC 4254 6.9; and BRK, a break on the terminal."""


@dataclass(slots=True)
class _Channel:
    number: int
    pid: int
    pidfd: int
    master: int = -1


@dataclass
class SessionHost:
    """Runs until the front hangs up. ``rules`` say what this login may do."""

    front: PacketSocket[HostRequest]
    monitor: PacketSocket[Any]
    rules: SessionRules
    _channels: dict[int, _Channel] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _ends: int = 0
    """Programs that ended, and that could not be started."""

    def run(self, *, until_end: bool = False) -> None:
        """The host's loop; returns when the front hangs up, or with ``until_end`` when a program ends or cannot start."""
        self._selector.register(self.front, selectors.EVENT_READ, self._read_front)
        try:
            while not (until_end and self._ends):
                for key, events in self._selector.select():
                    if events & selectors.EVENT_WRITE:
                        self.front.flush()
                    if events & selectors.EVENT_READ:
                        handler: Callable[[], None] = key.data
                        handler()
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.front.waiting else 0)
                if self._selector.get_key(self.front).events != wanted:
                    self._selector.modify(self.front, wanted, self._read_front)
        except (EOFError, OSError, RemoteProtocolError):
            pass  # the front is gone or mad: hang up
        finally:
            for channel in list(self._channels.values()):
                self._hang_up(channel)

    def _read_front(self) -> None:
        received = self.front.receive()
        if received is None:
            return
        request, descriptors = received
        for descriptor in descriptors:
            os.close(descriptor)  # none is ever due
        if isinstance(request, OpenChannel):
            self._open(request)
            return
        channel = self._channels.get(request.channel)
        if channel is None:
            return  # it has just ended
        if isinstance(request, Resize):
            if channel.master >= 0:
                program.set_window(
                    channel.master, request.rows, request.cols, request.xpixel, request.ypixel
                )
        elif isinstance(request, SendSignal):
            self._signal(channel, request.name)
        elif isinstance(request, HangUp):
            self._hang_up(channel)

    def _open(self, request: OpenChannel) -> None:
        refusal = self.rules.refusal(request, len(self._channels))
        if request.channel in self._channels:
            refusal = ("bad-channel", "the channel is open already")
        if refusal is not None:
            self._fail(request.channel, *refusal)
            return
        try:
            self._start(request)
        except (OSError, ValueError, TypeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._fail(request.channel, "resources", f"cannot start a program: {reason}")

    def _fail(self, channel: int, code: str, reason: str) -> None:
        self._ends += 1
        self.front.send(ChannelFailed(channel, code, reason))

    def _start(self, request: OpenChannel) -> None:
        terminal, notices = None, []
        if request.pty is not None:
            if self.rules.permits_pty:
                terminal = program.open_terminal(request.pty)
            else:
                notices.append("PTY allocation request failed on channel 0")
        try:
            plan = self.rules.plan(request, terminal.name if terminal else "")
            started = program.start(
                plan.path, plan.argv, plan.env, plan.home, terminal, plan.greeting
            )
        except (OSError, ValueError, TypeError):
            if terminal is not None:
                os.close(terminal.master)
                os.close(terminal.slave)
            raise
        channel = _Channel(request.channel, started.pid, started.pidfd)
        descriptors = [started.stdin, started.stdout]
        if terminal is not None:
            channel.master = terminal.master
            self._report_terminal(terminal.name, started.pid)
        else:
            descriptors.append(started.stderr)
        self._channels[channel.number] = channel
        self._selector.register(channel.pidfd, selectors.EVENT_READ, lambda: self._reap(channel))
        self.front.send(ChannelOpened(channel.number, notices), descriptors)

    def _report_terminal(self, name: str, pid: int) -> None:
        try:
            self.monitor.send(TerminalLogin(name.removeprefix("/dev/"), pid))
        except OSError:
            pass  # the monitor is gone: the session goes on without a login record

    def _reap(self, channel: _Channel) -> None:
        pid, status = os.waitpid(channel.pid, os.WNOHANG)
        if pid == 0:
            return
        self._forget(channel)
        self._ends += 1
        if os.WIFSIGNALED(status):
            name = _signal_name(os.WTERMSIG(status))
            self.front.send(Exited(channel.number, signal=name, core_dumped=os.WCOREDUMP(status)))
        else:
            self.front.send(Exited(channel.number, status=os.WEXITSTATUS(status)))

    def _forget(self, channel: _Channel) -> None:
        self._channels.pop(channel.number, None)
        self._selector.unregister(channel.pidfd)
        os.close(channel.pidfd)
        if channel.master >= 0:
            os.close(channel.master)

    def _signal(self, channel: _Channel, name: str) -> None:
        if name == "BRK":
            if channel.master >= 0:
                termios.tcsendbreak(channel.master, 0)
        elif name in SIGNALS:
            _kill_group(_foreground(channel), signal.Signals[f"SIG{name}"])

    def _hang_up(self, channel: _Channel) -> None:
        """SIGHUP, as a terminal that hangs up gives it; who ignores it lives on without us, as with nohup."""
        if channel.master >= 0:
            _kill_group(_foreground(channel), signal.SIGHUP)
        _kill_group(channel.pid, signal.SIGHUP)
        _kill_group(channel.pid, signal.SIGCONT)


def _signal_name(number: int) -> str:
    """As RFC 4254 6.10 wants it: without SIG, and for what has no name there a local one."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"{number}@qsh"


def _foreground(channel: _Channel) -> int:
    """The process group that a signal is meant for."""
    if channel.master < 0:
        return channel.pid
    try:
        (group,) = struct.unpack("i", fcntl.ioctl(channel.master, termios.TIOCGPGRP, b"\0" * 4))
    except OSError:
        return channel.pid
    return group if group > 1 else channel.pid


def _kill_group(group: int, number: signal.Signals) -> None:
    """A child that is not yet the leader of its group gets the signal alone; it is blocked there until the program starts."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        with contextlib.suppress(OSError):
            os.kill(group, number)
    except OSError:
        pass
