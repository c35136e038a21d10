"""The clock that edges pass into the sans-IO cores as ``now``."""

from __future__ import annotations

import time

__all__ = ["boot_s", "monotonic_s", "wall_s"]

monotonic_s = time.monotonic
"""Seconds that never go back; what deadlines are made of."""

wall_s = time.time
"""Seconds since 1970; what expiry dates and log lines are made of."""


def boot_s() -> float:
    """As monotonic_s, and goes on while the machine is suspended, where the system has such a clock."""
    clock: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)
