"""UDP sockets whose datagrams travel as flows (docs/protocol.md 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qsh import _native
from qsh.quic.runtime import Pending

if TYPE_CHECKING:
    import asyncio
    import socket

    from qsh.quic.connection import Connection
    from qsh.quic.runtime import Driver
    from qsh.quic.stream import Stream

    Call = asyncio.Future[tuple[str, int, int, int, int]]

__all__ = ["FlowEnd", "Peer", "UdpListener", "flow_end", "splice_udp"]


class FlowEnd(NamedTuple):
    """How a flow ended, and how many datagrams went to the connection, came from it, were lost here."""

    why: str
    """``ended`` ``reset`` ``socket`` ``idle`` ``closed``."""
    code: int
    """Of ``reset`` the peer's, of ``socket`` an errno."""
    sent: int
    received: int
    dropped: int


class Peer(NamedTuple):
    """Somebody who has sent a first datagram."""

    number: int
    host: str
    port: int
    header: bytes
    """Of SOCKS: where to."""


async def flow_end(call: Call) -> FlowEnd:
    """The end that the engine tells."""
    return FlowEnd(*await call)


def splice_udp(
    connection: Connection, stream: Stream, fd: int, *, by_stream: int = 65535, idle_s: float = 0.0
) -> Call:
    """Move the flow of the stream's number to and from a connected UDP socket, from now on. Both are given away.

    :func:`flow_end` of the result tells the end. Raises ValueError, OSError (``_native.pyi``).
    """
    return connection.driver.call(
        connection.native.splice_udp,
        stream.id,
        fd,
        stream.send.native,
        stream.recv.native,
        by_stream=by_stream,
        idle_s=idle_s,
    )


class UdpListener:
    """A bound socket that is given away. Closed when dropped."""

    def __init__(
        self,
        driver: Driver,
        sock: socket.socket,
        *,
        limit: int,
        idle_s: float,
        socks: bool = False,
        only: tuple[str, int] | None = None,
    ) -> None:
        """Options as in ``_native.UdpListener``. Raises OSError, ValueError."""
        self._driver = driver
        native = self.native = _native.UdpListener(
            driver.native, sock.detach(), limit=limit, idle_s=idle_s, socks=socks, only=only
        )
        self._peer: Pending[tuple[int, str, int, bytes] | None] = Pending(
            lambda: driver.call(
                native.peer
            )  # not self: collecting this must not wait for the collector
        )

    async def peer(self) -> Peer | None:
        """The next new peer; None when the listener is closed."""
        found = await self._peer.wait()
        return None if found is None else Peer(*found)

    def attach(
        self, peer: Peer, connection: Connection, stream: Stream, *, by_stream: int = 65535
    ) -> Call:
        """Its datagrams go on this stream, whose sending half is given away; :func:`flow_end` of the result tells the end.

        Raises ValueError: the peer was given up meanwhile.
        """
        return self._driver.call(
            self.native.attach,
            peer.number,
            connection.native,
            stream.id,
            stream.send.native,
            by_stream=by_stream,
        )

    def opened(self, peer: Peer, stream: Stream) -> None:
        """The other side is there: datagrams may take the short way. The receiving half is given away."""
        self.native.opened(peer.number, stream.recv.native)

    def forget(self, peer: Peer) -> None:
        """End its flow."""
        self.native.forget(peer.number)

    @property
    def counts(self) -> tuple[int, int]:
        """Peers there are, datagrams not heard."""
        return self.native.counts()

    def close(self) -> None:
        """Hear nobody any more and end all flows."""
        self.native.close()
