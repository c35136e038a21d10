"""Ways to a host where UDP does not get through: QUIC packets in a byte stream (docs/protocol.md 15).

A :data:`Way` is a function that makes the connection, up to the end of the handshake, and sends nothing of the user's. Those of
:func:`ways` are raced with UDP when that does not answer (connect.py); the losers are cancelled, and nothing is told to the hosts
that they reach. A way that cannot be gone raises ConnectError, whose text is for the user.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qsh.client.addresses import Address, stream_socket
from qsh.client.log import log
from qsh.client.mover import Dialed, Mover, Patience
from qsh.errors import ConnectError
from qsh.quic import stream_endpoint, suit_packets
from qsh.wire.packet_frames import GREETING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from qsh.client.addresses import Target
    from qsh.client.host_key import KnownHost
    from qsh.client.tuning import Tuning
    from qsh.config.options import ClientOptions
    from qsh.quic import Connection, Driver, Endpoint

__all__ = ["Way", "tcp_port", "to_same_host", "ways"]

_HEAD_BYTES: Final = 512
_DIAL_S: Final = 5.0
"""For a stream that takes the place of something else: the connection, and the greeting."""

_STAGGER_S: Final = 0.25
"""Between attempts at one address and the next."""


class Carried(NamedTuple):
    """A connection that came by one of the ways."""

    endpoint: Endpoint
    connection: Connection


if TYPE_CHECKING:
    Way = Callable[[], Awaitable[Carried]]


class Reach(NamedTuple):
    """What a way needs to know."""

    driver: Driver
    target: Target
    addresses: Sequence[Address]
    known: KnownHost
    tuning: Tuning


def tcp_port(options: ClientOptions) -> int | None:
    """QshTcpPort; without it the port of UDP, if that is none of sshd's."""
    port = options.qsh_port or options.port
    return options.qsh_tcp_port or (port if port not in (options.port, 22) else None)


def ways(options: ClientOptions, reach: Reach) -> list[Way]:
    """All that QshTransport permits beside UDP."""
    port, transport = tcp_port(options), options.qsh_transport
    found: list[Way] = []
    if port is not None and transport in ("auto", "tcp"):
        found.append(lambda: _by_tcp(reach, port, moves=transport == "auto"))
    return found


async def _by_tcp(reach: Reach, port: int, *, moves: bool) -> Carried:
    """A connection to qshd's own TCP port. ``moves``: to UDP, when that works."""
    address, sock = await _dial(reach.target, reach.addresses, port)
    with sock:
        peer = (address.host, reach.target.port_of(address))
        options = reach.tuning.endpoint()
        endpoint = stream_endpoint(reach.driver, sock.fileno(), peer, **options)
    endpoint.carried = ("tcp", f"{address.host}:{port}")
    ended = endpoint.stream_ended()
    shaking = asyncio.ensure_future(endpoint.connect(*peer, **reach.tuning.handshake(reach.known)))
    try:
        waited: set[asyncio.Future[Any]] = {shaking, ended}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not shaking.done():
            raise ConnectError(_stranger(reach.target.host, port, *ended.result()), kind="stranger")
        connection = shaking.result()
    except BaseException:
        shaking.cancel()
        endpoint.close()
        raise
    log.debug(f"Connection established through TCP port {port}.")
    dial = _dialer(reach.target, reach.addresses, port)
    mover = Mover(reach.target, connection, dial, Patience(), moves=moves)
    mover.task = asyncio.ensure_future(mover.run(ended))
    return Carried(endpoint, connection)


def to_same_host(
    target: Target, port: int, connection: Connection
) -> Callable[[], Awaitable[Dialed]]:
    """Makes streams to this TCP port of the host that the connection is with."""
    return _dialer(target, [Address.of(connection.remote_address[0])], port)


def _dialer(
    target: Target, addresses: Sequence[Address], port: int
) -> Callable[[], Awaitable[Dialed]]:
    async def dial() -> Dialed:
        try:
            async with asyncio.timeout(_DIAL_S):
                address, sock = await _dial(target, addresses, port)
                await _await_greeting(sock, target.host, port)
        except TimeoutError:
            text = f"TCP port {port} of {target.host}: Connection timed out"
            raise ConnectError(text, kind="timeout") from None
        return Dialed(sock, ("tcp", f"{address.host}:{port}"))

    return dial


async def _await_greeting(sock: socket.socket, host: str, port: int) -> None:
    """Until the other side has said that it takes packets. Raises ConnectError; then the socket is closed, as when cancelled."""
    loop = asyncio.get_running_loop()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(GREETING))
    readable = asyncio.Event()
    loop.add_reader(sock.fileno(), readable.set)
    try:
        await readable.wait()
        try:
            head = sock.recv(_HEAD_BYTES, socket.MSG_PEEK)
        except OSError as error:
            raise ConnectError(_stranger(host, port, os.strerror(error.errno or 0), b"")) from None
        if not head.startswith(GREETING):
            raise ConnectError(_stranger(host, port, "end", head), kind="stranger")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    except BaseException:
        loop.remove_reader(sock.fileno())
        sock.close()
        raise
    loop.remove_reader(sock.fileno())


async def _dial(
    target: Target, addresses: Sequence[Address], port: int
) -> tuple[Address, socket.socket]:
    """The first address that accepts. Raises ConnectError."""
    attempts = [
        asyncio.ensure_future(_attempt(target, address, port, number * _STAGGER_S))
        for number, address in enumerate(addresses)
    ]
    error: Exception | None = None
    try:
        for attempt in asyncio.as_completed(attempts):
            try:
                return await attempt
            except OSError as failure:
                error = error or failure
    finally:
        for task in attempts:
            task.add_done_callback(_close_late)
            task.cancel()
    number = getattr(error, "errno", None)  # asyncio puts a text of its own beside it
    text = os.strerror(number) if number else str(error)
    raise ConnectError(f"TCP port {port} of {target.host}: {text}", kind="unreachable")


def _close_late(task: asyncio.Task[tuple[Address, socket.socket]]) -> None:
    """Nothing to do for the winner, whose socket its owner closes; one that came later is closed when collected."""
    if not task.cancelled():
        task.exception()


async def _attempt(
    target: Target, address: Address, port: int, delay_s: float
) -> tuple[Address, socket.socket]:
    await asyncio.sleep(delay_s)
    sock = stream_socket(target, address.family)
    try:
        log.debug(f"Connecting to {target.host} [{address.host}] TCP port {port}.")
        await asyncio.get_running_loop().sock_connect(sock, (address.host, port))
        suit_packets(sock)
    except BaseException:
        sock.close()
        raise
    return address, sock


def _stranger(host: str, port: int, why: str, head: bytes) -> str:
    """What to say of somebody who answers and is not qshd."""
    where = f"TCP port {port} of {host}"
    low = head.lower()
    if low.startswith(b"http/") or b"<html" in low or b"<!doctype" in low:
        return f"{where} answers with a web page (HTTP), not qsh: a captive portal?"
    if head.startswith(b"SSH-"):
        return f"{where} answers as an SSH server, not qsh: set QshTcpPort"
    if head:
        return f"{where} answers, but is not qsh"
    return f"{where} closes the connection ({why})"
