"""A process's resident memory (proc(5): statm)."""

from __future__ import annotations

import os

__all__ = ["resident_bytes"]


def resident_bytes(pid: int) -> int:
    """0 if there is no such process, or it is none of ours to look at."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read(200).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
