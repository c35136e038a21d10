"""One question to a terminal's socket, by a process that may wait a little: a login child, a command (docs/protocol.md 10.11)."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, Final

from qsh.clock import monotonic_s
from qsh.errors import RemoteProtocolError
from qsh.server.session_directory import (
    OTHER_VERSION,
    Done,
    Holds,
    Refused,
    SessionDirectory,
    process_of,
)

if TYPE_CHECKING:
    from qsh.server.packets import PacketSocket
    from qsh.server.requests import Local

__all__ = ["ask", "holds", "receive"]

HOLDS_S: Final = 2.0
"""A session host answers within milliseconds; one that was stopped must not keep a login child."""


def holds(path: str, name: str, client: bytes, ticket: bytes) -> int:
    """The process that listens for the terminal ``name`` in this directory, if that says that it knows the client; else 0."""
    peer = SessionDirectory(path).connect(name)
    if peer is None:
        return 0
    try:
        if not isinstance(ask(peer, Holds(client, ticket), monotonic_s() + HOLDS_S), Done):
            return 0
        return process_of(peer.sock)
    finally:
        peer.close()


def ask(peer: PacketSocket[Any], question: Local, deadline: float) -> Any:
    """The first answer; None: there is none in time."""
    try:
        peer.send(question)
    except OSError:
        return None
    return receive(peer, deadline)


def receive(peer: PacketSocket[Any], deadline: float) -> Any:
    """What it says next; None: nothing in time."""
    while True:
        left_s = deadline - monotonic_s()
        if left_s <= 0 or not select.select([peer], [], [], left_s)[0]:
            return None
        try:
            received = peer.receive()
        except RemoteProtocolError:
            return Refused(*OTHER_VERSION)
        except (EOFError, OSError):
            return None
        if received is not None:
            return received[0]
