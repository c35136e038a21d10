"""Where clients tell how they do: a directory of this user's with a socket for each process, named by its number."""

from __future__ import annotations

import os
import stat

__all__ = ["directory", "is_private", "pids", "socket_of"]


def directory() -> str:
    """In the directory that the system empties when the user has left; where there is none, beside what is remembered."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        return os.path.join(runtime, "qsh")
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "qsh", "run")


def socket_of(pid: int) -> str:
    """The path of a process's socket."""
    return os.path.join(directory(), str(pid))


def is_private() -> bool:
    """The directory is this user's, and nobody else may write to it. Raises OSError.

    XDG_RUNTIME_DIR may be another user's, as after su(1): what he has put there is none of ours to remove files from.
    """
    found = os.lstat(directory())
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return ours and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def pids() -> list[int]:
    """Who has one. Nobody, if the directory is not there or others may write to it."""
    try:
        names = os.listdir(directory()) if is_private() else []
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())
