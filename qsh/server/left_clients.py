"""Tells the clients of a front that has ended that it has: by a stateless reset (RFC 9000 10.3) to where each was last.

Who types hears so anyway, in answer to his next packet; who only listens would notice at his keep-alive. A client that has moved
since, or has taken another connection id, is not reached, and notices then.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from qsh.server.front_secrets import reset_key_at
from qsh.server.reloading import address_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qsh.server.requests import Address, LeftClient

__all__ = ["reset_packet", "tell"]

TOKEN_BYTES: Final = 16
RANDOM_BYTES: Final = 24
"""Before the token: so that it looks like any other packet."""
IP_PKTINFO: Final = 8
"""Not in the socket module of every Python that is supported."""
AT_A_TIME: Final = 16
PAUSE_S: Final = 0.05
"""Between so many: a client costs the server some 20 ms to have back, and those who type come first."""


def reset_packet(reset_key: bytes, connection_id: bytes) -> bytes:
    """As the engine makes them for a packet with this id."""
    start = bytearray(os.urandom(RANDOM_BYTES))
    start[0] = 0x40 | start[0] & 0x3F
    return bytes(start) + hmac.digest(reset_key, connection_id, "sha256")[:TOKEN_BYTES]


async def tell(
    clients: Sequence[LeftClient], sockets: Iterable[socket.socket], reset_key: bytes
) -> None:
    """All of them once, over ``sockets``, which are closed at the end. Never raises for one that cannot be reached."""
    with contextlib.ExitStack() as stack:
        open_ones = [stack.enter_context(each) for each in sockets]
        for number, client in enumerate(clients, 1):
            sock = _socket_of(client.server, open_ones)
            if sock is not None:
                key = reset_key_at(reset_key, address_of(sock))
                packet = reset_packet(key, client.connection_id)
                with contextlib.suppress(OSError, ValueError):  # ValueError: no such address
                    _send(sock, packet, client.client, client.server[0])
            if number % AT_A_TIME == 0:
                await asyncio.sleep(PAUSE_S)


def _socket_of(server: Address, sockets: Sequence[socket.socket]) -> socket.socket | None:
    """The one that is bound to the address, or to all addresses."""
    host, port = server
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = [each for each in sockets if each.getsockname()[1] == port]
    exact = [each for each in found if each.getsockname()[0] == host]
    same = [each for each in found if each.family == family]
    both = [each for each in found if each.family == socket.AF_INET6]
    return next(iter([*exact, *same, *both]), None)


def _send(sock: socket.socket, packet: bytes, client: Address, server: str) -> None:
    """From the very address that the client knows the server by. The front before has said which these are: names, which
    sendmsg would look up, are refused.
    """
    host, port = client
    if sock.family == socket.AF_INET:
        source = struct.pack("=I4s4s", 0, socket.inet_pton(socket.AF_INET, server), bytes(4))
        control = (socket.IPPROTO_IP, IP_PKTINFO, source)
    else:
        host = _mapped(host)
        source = struct.pack("=16sI", socket.inet_pton(socket.AF_INET6, _mapped(server)), 0)
        control = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source)
    address = socket.inet_ntop(sock.family, socket.inet_pton(sock.family, host))
    sock.sendmsg([packet], [control], socket.MSG_DONTWAIT, (address, port))


def _mapped(host: str) -> str:
    return host if ":" in host else f"::ffff:{host}"
