"""Which environment variables go along: SendEnv patterns and SetEnv (ssh_config(5))."""

from __future__ import annotations

from qsh.client.log import log
from qsh.patterns import match_pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

__all__ = ["to_send"]

_MAX_VARIABLES: Final = 256
_MAX_VALUE: Final = 16 * 1024
"""Characters, as the protocol allows (docs/protocol.md 6.1)."""
_MAX_BYTES: Final = 64 * 1024
"""Of all variables together: OPEN has room for them and for the longest command."""


def to_send(
    patterns: Iterable[str], fixed: Iterable[tuple[str, str]], environment: Mapping[str, str]
) -> dict[str, str]:
    """Name to value; SetEnv wins over SendEnv. A pattern with ``-`` takes earlier matches out
    again.
    """
    chosen: dict[str, str] = {}
    for pattern in patterns:
        negative = pattern.startswith("-")
        wanted = [each for each in environment if match_pattern(each, pattern.removeprefix("-"))]
        for name in wanted:
            if negative:
                chosen.pop(name, None)
            else:
                chosen[name] = environment[name]
    chosen.update(fixed)
    return dict(list(_fitting(chosen).items())[:_MAX_VARIABLES])


def _fitting(chosen: Mapping[str, str]) -> dict[str, str]:
    fitting: dict[str, str] = {}
    room = _MAX_BYTES
    for name, value in chosen.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            log.debug(f"environment variable {name} is not UTF-8: not sent")
            continue
        size = len(name.encode()) + len(value.encode()) + 8
        if len(name) > 256 or len(value) > _MAX_VALUE or size > room:
            log.debug(f"environment variable {name} is too large: not sent")
        else:
            room -= size
            fitting[name] = value
            log.debug(f"channel 0: setting env {name} = {value!r}")
    return fitting
