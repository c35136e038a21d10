"""Signals to a channel's programs, and what their ends mean (RFC 4254 6.9 and 6.10)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
from dataclasses import dataclass
from typing import Final

__all__ = ["SIGNALS", "ProgramEnd", "end_of", "foreground", "hang_up", "kill_group"]

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


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """Either a status or a signal's name."""

    status: int | None
    signal: str | None
    core_dumped: bool


def end_of(status: int) -> ProgramEnd:
    """What a wait status says."""
    if os.WIFSIGNALED(status):
        return ProgramEnd(None, signal_name(os.WTERMSIG(status)), os.WCOREDUMP(status))
    return ProgramEnd(os.WEXITSTATUS(status), None, False)


def signal_name(number: int) -> str:
    """As RFC 4254 6.10 wants it: without SIG, and for what has no name there a local one."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"{number}@qsh"


def foreground(master: int, pid: int) -> int:
    """The process group that a signal is meant for: the terminal's foreground, else the program ``pid``'s."""
    if master < 0:
        return pid
    try:
        (group,) = struct.unpack("i", fcntl.ioctl(master, termios.TIOCGPGRP, b"\0" * 4))
    except OSError:
        return pid
    return int(group) if group > 1 else pid


def kill_group(group: int, number: signal.Signals) -> None:
    """A child that is not yet the leader of its group gets the signal alone; it is blocked there until the program starts."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        with contextlib.suppress(OSError):
            os.kill(group, number)
    except OSError:
        pass


def hang_up(master: int, pid: int) -> None:
    """SIGHUP, as a terminal that hangs up gives it; who ignores it lives on without us, as with nohup."""
    if master >= 0:
        kill_group(foreground(master, pid), signal.SIGHUP)
    kill_group(pid, signal.SIGHUP)
    kill_group(pid, signal.SIGCONT)
