"""Another connection for a terminal that lost its own: when it is worth trying, and trying."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsh.client.text import visible
from qsh.errors import (
    AuthenticationError,
    ChannelError,
    ConnectError,
    ConnectionLost,
    HostKeyError,
    ProtocolError,
    QshError,
    StreamReset,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from qsh.channels.session import ClientChannel
    from qsh.client.link import Link
    from qsh.wire.messages import Open

    Reopen = Callable[[Callable[[], Open]], Awaitable[tuple[Link, ClientChannel]]]
    """Connect, log in and open this channel, asking nobody. OPEN is made when it can be sent: keys are typed meanwhile."""

__all__ = ["is_final", "keep_trying", "reason_of"]

PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 5.0
"""Between the end of an attempt and the next: a second more each time."""

_FINAL_CODES: Final = (1, 2, 3, 4, 7)
"""Close codes of protocol errors, refused logins and refused addresses (docs/protocol.md 9)."""
_PASSING: Final = ("resources", "max-sessions")
"""Refusals of a channel that may be another tomorrow."""


def is_final(error: QshError) -> bool:
    """Whether what ended a connection, or an attempt at one, will not be mended by another."""
    if isinstance(error, ChannelError):
        return error.code not in _PASSING
    if isinstance(error, AuthenticationError | HostKeyError | ProtocolError):
        return True
    if isinstance(error, ConnectError):
        return error.kind in ("host-key-revoked", "version")
    if isinstance(error, ConnectionLost):
        if error.kind == "closed-by-peer":
            return error.code in _FINAL_CODES
        return error.kind in ("protocol", "closed-locally")
    return not isinstance(error, StreamReset)


def reason_of(error: Exception) -> str:
    """In a few words for the notice; "" where there is nothing to add to the silence."""
    if isinstance(error, TimeoutError):
        return ""
    if isinstance(error, ConnectError | ConnectionLost):
        if error.kind == "timeout":
            return ""
        if error.kind == "closed-by-peer":
            return (
                "the server was stopped" if "server-stopped" in str(error) else "the server closed"
            )
        if error.kind == "reset-by-peer":
            return "the server has forgotten us"
    return visible(str(error).partition("\n")[0])[:60]


async def keep_trying(
    reopen: Reopen, message: Callable[[], Open], failed: Callable[[Exception], None]
) -> tuple[Link, ClientChannel]:
    """The first success. ``message`` makes OPEN anew for each attempt; ``failed`` hears of each failure.

    Raises QshError when there is no hope: the session is gone, the login is refused, the host is another.
    """
    pause_s = 0.0
    while True:
        try:
            return await reopen(message)
        except QshError as error:
            if is_final(error):
                raise
            failed(error)
        except OSError as error:  # no route, no socket: the laptop is between two networks
            failed(error)
        pause_s = min(pause_s + PAUSE_S, MAX_PAUSE_S)
        await asyncio.sleep(pause_s)
