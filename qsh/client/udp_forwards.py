"""-L udp/, and UDP ASSOCIATE of -D: sockets here whose datagrams go to the host, a flow for each peer (docs/protocol.md 12)."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from qsh.client.forward_targets import shown, target_of
from qsh.client.log import log
from qsh.client.spawned import Spawned
from qsh.client.text import visible
from qsh.errors import QshError, RemoteProtocolError
from qsh.forward.failure import open_failed
from qsh.forward.listening import enlarge
from qsh.forward.socks_udp import parse_header
from qsh.forward.udp_flow import MAX_PEERS, described, lead
from qsh.quic import UdpListener
from qsh.wire.messages import Failed, Open, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from qsh.client.channel_numbers import ChannelNumbers
    from qsh.client.link import Link
    from qsh.config.forwards import Forward
    from qsh.forward.socks import Negotiation
    from qsh.quic import Peer

__all__ = ["UdpForwards"]

MAX_UNDER_WAY: Final = 512
"""Flows of all sockets: half of the streams that the host allows."""
MAX_COMPLAINTS: Final = 64


class UdpForwards:
    """:meth:`add` sockets, then :meth:`use` each connection to the host."""

    def __init__(self, numbers: ChannelNumbers, idle_s: int) -> None:
        self._numbers, self._idle_s = numbers, idle_s
        self._sockets: list[tuple[Forward, socket.socket]] = []
        """Before there is a connection."""
        self._listeners: list[tuple[Forward, UdpListener]] = []
        self._link: Link | None = None
        self._spawned = Spawned("UDP forward")
        self._flows = 0
        self._complained: set[Target] = set()
        """Of which an error was told: the next datagram would have the same."""

    def add(self, forward: Forward, sockets: Sequence[socket.socket]) -> None:
        """Bound sockets of one forward."""
        self._sockets += ((forward, sock) for sock in sockets)
        if self._link is not None:
            self.use(self._link)

    def has(self, forward: Forward) -> bool:
        """It is there already."""
        return any(forward == known for known, _ in (*self._listeners, *self._sockets))

    def cancel(self, matches: Callable[[Forward], bool]) -> bool:
        """Take no more datagrams for those that match, and end their flows; whether there was one."""
        found = [(known, listener) for known, listener in self._listeners if matches(known)]
        for each in found:
            self._listeners.remove(each)
            each[1].close()
        return bool(found)

    def use(self, link: Link) -> None:
        """New flows go over this connection. Those of the last one have ended with it."""
        self._link = link
        sockets, self._sockets = self._sockets, []
        for forward, sock in sockets:
            listener = UdpListener(
                link.connection.driver, sock, limit=MAX_PEERS, idle_s=self._idle_s
            )
            self._listeners.append((forward, listener))
            self._spawned.spawn(self._serve(forward, listener))

    async def _serve(self, forward: Forward, listener: UdpListener) -> None:
        target = target_of(forward)
        text = f"direct-udp: listening port {forward.listen_port} for {shown(target)}"
        async for peer, link in self._peers(listener):
            self._spawned.spawn(self._lead(listener, peer, link, target, text))

    async def _peers(self, listener: UdpListener) -> AsyncIterator[tuple[Peer, Link]]:
        while (peer := await listener.peer()) is not None:
            link = self._link
            if link is None or link.lost.done() or self._flows >= MAX_UNDER_WAY:
                listener.forget(peer)  # what is late is worth nothing: no waiting for another link
            else:
                yield peer, link

    async def _lead(
        self, listener: UdpListener, peer: Peer, link: Link, target: Target, text: str
    ) -> None:
        origin = Target(peer.host, peer.port)
        self._flows += 1
        try:
            with self._numbers.one(text, holds=False) as number:
                log.debug(f"channel {number}: {text}, datagrams from {shown(origin)}")
                request = Open("udp", target=target, origin=origin)
                end = await lead(listener, peer, link.connection, request)
                if isinstance(end, Failed):
                    self._complain(target, number, end)
                elif end is not None:
                    log.debug(f"channel {number}: {described(end)}")
        except QshError as error:
            log.debug(f"UDP flow: {error}", 2)
        finally:
            self._flows -= 1

    # -- SOCKS ---------------------------------------------------------------------------------

    async def associate(self, sock: socket.socket, socks: Negotiation, port: int) -> None:
        """UDP ASSOCIATE: datagrams of this peer (``port`` 0: from any port) until its connection ends. Raises OSError."""
        loop = asyncio.get_running_loop()
        assert self._link is not None  # noqa: S101 - nothing is accepted without
        here, there = sock.getsockname(), sock.getpeername()
        ears = socket.socket(sock.family, socket.SOCK_DGRAM)
        try:
            enlarge(ears)
            ears.bind((here[0], 0, *here[2:]))
            where = ears.getsockname()
        except OSError:
            ears.close()
            await loop.sock_sendall(sock, socks.refused("resources", ""))
            raise
        listener = UdpListener(
            self._link.connection.driver,
            ears,
            limit=MAX_PEERS,
            idle_s=self._idle_s,
            socks=True,
            only=(_plain(there[0]), port),
        )
        serving = asyncio.ensure_future(self._serve_socks(listener))
        try:
            await loop.sock_sendall(sock, socks.associated(_plain(where[0]), where[1]))
            while await loop.sock_recv(sock, 4096):
                pass  # nothing is due: what counts is the end
        finally:
            listener.close()
            serving.cancel()
            sock.close()

    async def _serve_socks(self, listener: UdpListener) -> None:
        async for peer, link in self._peers(listener):
            try:
                header = parse_header(peer.header)
            except RemoteProtocolError as error:
                log.debug(f"dynamic-udp: {error}")
                listener.forget(peer)
                continue
            target = Target(header.host, header.port)
            text = f"dynamic-udp: for {shown(target)}"
            self._spawned.spawn(self._lead(listener, peer, link, target, text))

    def _complain(self, target: Target, number: int, failed: Failed) -> None:
        text = f"channel {number}: {open_failed(failed.code, visible(failed.reason))}"
        if target in self._complained or len(self._complained) >= MAX_COMPLAINTS:
            log.debug(text)
        else:
            self._complained.add(target)
            log.error(text)


def _plain(host: str) -> str:
    """Without the scope, which the system puts behind a link-local address."""
    return host.partition("%")[0]
