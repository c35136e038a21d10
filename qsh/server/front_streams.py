"""The streams of packets of a front: how they are taken, and which of them carry connections and are kept.

A stranger has a stream for nothing: he is answered once and never speaks again. So the front looks, now and then, where its
connections are, and the others go (docs/protocol.md 15.3).
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final

from qsh.quic import suit_packets

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from qsh.quic import Connection, Endpoint, Incoming

__all__ = ["LOOK_S", "FrontStreams", "take_streams"]

LOOK_S: Final = 5.0
"""Two of these are more than a client needs that tries UDP and comes back."""
ACCEPT_PAUSE_S: Final = 0.5
"""After a TCP connection that could not be accepted."""


async def take_streams(
    listener: socket.socket,
    endpoint: Endpoint,
    welcome: Callable[[str], bool],
    ended: Callable[[str, asyncio.Future[tuple[str, bytes]]], object],
    failed: Callable[[OSError], object],
) -> None:
    """TCP connections that carry packets, from hosts that are ``welcome``; how many there may be is the endpoint's affair."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    while True:
        try:
            sock, address = await loop.sock_accept(listener)
            peer = _peer(address)
            with sock:
                if welcome(peer[0]):
                    suit_packets(sock)
                    end = endpoint.add_stream(sock.fileno(), peer)
                    end.add_done_callback(functools.partial(ended, peer[0]))
        except OSError as error:
            failed(error)
            await asyncio.sleep(ACCEPT_PAUSE_S)
            continue
        # While somebody waits to be accepted sock_accept lets nobody else run.
        await asyncio.sleep(0)


class FrontStreams:
    """Of all endpoints of a front."""

    def __init__(self) -> None:
        self._carried: dict[int, tuple[Endpoint, int, Connection | None]] = {}

    def begin(self, number: int, incoming: Incoming) -> None:
        """Connection ``number`` begins."""
        self._carried[number] = (incoming.endpoint, incoming.stream, None)

    def connected(self, number: int, connection: Connection) -> None:
        """From now on it may move."""
        endpoint, stream, _ = self._carried[number]
        self._carried[number] = (endpoint, stream, connection)

    def end(self, number: int) -> None:
        """It is gone. Harmless if it is not known."""
        self._carried.pop(number, None)

    def look(self, endpoints: Sequence[Endpoint]) -> None:
        """Tell each endpoint which of its streams are to stay."""
        for endpoint in endpoints:
            if endpoint.open_streams:
                endpoint.keep_streams(
                    stream if connection is None else connection.on_stream
                    for where, stream, connection in self._carried.values()
                    if where is endpoint
                )


def _peer(address: tuple[Any, ...]) -> tuple[str, int]:
    """What accept(2) says, with the number of an IPv6 scope."""
    host, port = str(address[0]).partition("%")[0], int(address[1])
    return (f"{host}%{address[3]}" if len(address) > 3 and address[3] else host), port
