"""How long a refused login is held back, so that the time it took says nothing (OpenSSH's auth2.c: ensure_minimum_time_since)."""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["failure_delay_s"]

STEP_S: Final = 0.1
"""Longer than any ordinary judgement takes; doubled until it is."""
SPREAD: Final = 0.25
"""Part of a step that depends on the user's name, so that the delay is not a constant that load can be measured against."""


def failure_delay_s(user: str, elapsed_s: float, salt: bytes) -> float:
    """Seconds to wait before a refusal is sent, ``elapsed_s`` after the request came. ``salt`` is the process's secret."""
    digest = hashlib.blake2b(user.encode(errors="replace"), key=salt[:64], digest_size=2).digest()
    target = STEP_S * (1 + int.from_bytes(digest, "big") / 65536 * SPREAD)
    while target < elapsed_s:
        target *= 2
    return target - elapsed_s
