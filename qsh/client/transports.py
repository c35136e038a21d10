"""Ways to a host where UDP does not get through: QUIC packets in a byte stream (docs/protocol.md 15).

A :data:`Way` is a function that makes the connection, up to the end of the handshake, and sends nothing of the user's. Those of
:func:`ways` are raced with UDP when that does not answer (connect.py); the losers are cancelled, and nothing is told to the hosts
that they reach. A way that cannot be gone raises ConnectError, whose text is for the user.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qsh.client.addresses import stream_socket, udp_socket
from qsh.client.log import log
from qsh.client.udp_watch import udp_answers
from qsh.errors import ConnectError, QshError
from qsh.quic import stream_endpoint, suit_packets

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from qsh.client.addresses import Address, Target
    from qsh.client.host_key import KnownHost
    from qsh.client.tuning import Tuning
    from qsh.config.options import ClientOptions
    from qsh.quic import Closed, Connection, Driver, Endpoint

__all__ = ["Way", "tcp_port", "ways"]

_STAGGER_S: Final = 0.25
"""Between attempts at one address and the next."""
_FIRST_LOOK_S: Final = 2.0
_LOOK_S: Final = 10.0
"""How often UDP is tried beside a stream: at first, and later. One packet each way."""
_PROOF_S: Final = 3.0
"""After a move to UDP something must be heard within this, or the connection goes back to TCP."""
_REDIAL_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Waits before a stream that broke is replaced."""


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
    address, sock = await _dial(reach, port)
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
    mover = _Mover(reach, port, address, Carried(endpoint, connection), moves=moves)
    mover.task = asyncio.ensure_future(mover.run(ended))
    return Carried(endpoint, connection)


async def _dial(reach: Reach, port: int) -> tuple[Address, socket.socket]:
    """The first address that accepts. Raises ConnectError."""
    attempts = [
        asyncio.ensure_future(_attempt(reach.target, address, port, number * _STAGGER_S))
        for number, address in enumerate(reach.addresses)
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
    raise ConnectError(f"TCP port {port} of {reach.target.host}: {text}", kind="unreachable")


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


class _Mover:
    """Keeps a connection that began in a stream on the best path there is: UDP, if it works, else a new stream."""

    def __init__(
        self, reach: Reach, port: int, address: Address, carried: Carried, *, moves: bool
    ) -> None:
        self._moves = moves
        self._reach, self._port, self._address = reach, port, address
        self._endpoint, self._connection = carried
        self.task: asyncio.Task[None] | None = None
        """Ends with the connection."""
        self._left = False
        """The stream was left for UDP, which carries nothing."""

    async def run(self, ended: asyncio.Future[tuple[str, bytes]]) -> None:
        """Until the connection is gone."""
        closed = asyncio.ensure_future(self._connection.closed())
        look_s = _FIRST_LOOK_S
        try:
            while not closed.done():
                waited: set[asyncio.Future[Any]] = {closed, ended}
                await asyncio.wait(waited, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                if closed.done():
                    return
                look_s = _LOOK_S
                if self._moves and await self._udp_answers() and await self._move():
                    return
                if ended.done() or self._left:
                    ended = await self._redial(closed) or ended
                    self._left = False
        except QshError as error:
            log.debug(f"transport: {error}")
        finally:
            closed.cancel()

    async def _udp_answers(self) -> bool:
        target = self._reach.target
        return await udp_answers(target, self._address, target.udp_port)

    async def _move(self) -> bool:
        """Go on over UDP; False: it did not carry, and all is as before."""
        with udp_socket(self._reach.target, self._address.family) as sock:
            heard = self._connection.stats()["received_packets"]
            before = self._endpoint.carried or ("tcp", "")
            self._endpoint.rebind(sock)
            self._left = True
        log.debug("UDP works: moving the connection there")
        await asyncio.sleep(_PROOF_S)
        if self._connection.stats()["received_packets"] > heard:
            if self._endpoint.moved is not None:
                host, port = self._connection.remote_address
                self._endpoint.moved(" ".join(before), f"udp {host}:{port}")
            return True
        log.debug("nothing comes over UDP: back to TCP")
        return False

    async def _redial(
        self, closed: asyncio.Future[Closed]
    ) -> asyncio.Future[tuple[str, bytes]] | None:
        """Another stream in place of one that broke."""
        for wait_s in _REDIAL_S:
            await asyncio.wait({closed}, timeout=wait_s)
            if closed.done():
                return None
            try:
                address, sock = await _dial(self._reach, self._port)
            except ConnectError as error:
                log.debug(str(error))
                continue
            with sock:
                peer = (self._address.host, self._reach.target.port_of(self._address))
                self._endpoint.rebind_stream(sock.fileno(), peer)
            self._endpoint.carried = ("tcp", f"{address.host}:{self._port}")
            return self._endpoint.stream_ended()
        return None
