"""What every process of qshd does as it begins: a name, and no descriptor that is not its own."""

from __future__ import annotations

import os

__all__ = ["close_others", "set_title"]


def close_others(keep: set[int]) -> None:
    """Close every descriptor above standard error except ``keep``, of which no program gets any."""
    previous = 2
    for descriptor in sorted(keep):
        os.set_inheritable(descriptor, False)
        os.closerange(previous + 1, descriptor)
        previous = descriptor
    most = os.sysconf("SC_OPEN_MAX")
    os.closerange(previous + 1, most if most > 0 else 65536)


def set_title(title: str) -> None:
    """The process's name in ps -o comm and top (15 bytes on Linux). Not with open(): to make a text file takes a fresh fork a
    hundred pages of its own.
    """
    try:
        descriptor = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, title[:15].encode())
    finally:
        os.close(descriptor)
