"""Lists of where forwards may lead and listen: PermitOpen, PermitListen, PermitRemoteOpen; permitopen and permitlisten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.auth.key_options import Permit
from qsh.patterns import match_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NOTHING", "listens", "opens", "permits"]

NOTHING: Final = ("none",)
"""The list that permits nothing; an empty one permits all."""


def permits(words: Sequence[str]) -> tuple[Permit, ...]:
    """Of ``host:port`` words that a parser has checked."""
    found = []
    for word in () if tuple(words) == NOTHING else words:
        host, _, port = word.rpartition(":")
        host = host[1:-1] if host.startswith("[") else host
        found.append(Permit(host, 0 if port == "*" else int(port)))
    return tuple(found)


def opens(permit: Permit, host: str, port: int) -> bool:
    """Whether a connection may lead there (channels.c, open_match)."""
    return permit.port in (0, port) and permit.host in ("*", host)


def listens(permit: Permit, host: str, port: int) -> bool:
    """Whether connections may be waited for there (channels.c, remote_open_match)."""
    return permit.port in (0, port) and match_pattern(host.lower(), permit.host)
