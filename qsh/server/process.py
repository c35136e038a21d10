"""What every process of qshd does as it begins: a name, and no descriptor that is not its own."""

from __future__ import annotations

import contextlib
import os

__all__ = ["close_others", "set_title"]


def close_others(keep: set[int]) -> None:
    """Close every descriptor above standard error except ``keep``."""
    previous = 2
    for descriptor in sorted(keep):
        os.closerange(previous + 1, descriptor)
        previous = descriptor
    os.closerange(
        previous + 1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") > 0 else 65536
    )


def set_title(title: str) -> None:
    """The process's name in ps -o comm and top (15 bytes on Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(title[:15])
