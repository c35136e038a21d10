"""Dates in key options and certificates: ``YYYYMMDD[HHMM[SS]][Z]`` (OpenSSH misc.c,
parse_absolute_time)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from qsh.errors import KeyFormatError

__all__ = ["parse_absolute_time"]

_FORM = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?(Z|UTC)?", re.I | re.A
)


def parse_absolute_time(text: str) -> int:
    """Seconds since 1970; local time unless it ends in ``Z`` or ``UTC``."""
    match = _FORM.fullmatch(text)
    if not match:
        raise KeyFormatError("invalid expires time")
    numbers = [int(group) for group in match.groups()[:6] if group is not None]
    try:
        moment = datetime(*numbers, tzinfo=UTC if match[7] else None)  # type: ignore[arg-type, misc]
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError, OSError):
        raise KeyFormatError("invalid expires time") from None
    if seconds <= 0:
        raise KeyFormatError("invalid expires time")
    return seconds
