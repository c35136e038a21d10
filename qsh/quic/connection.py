"""One QUIC connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from qsh.quic.runtime import Pending
from qsh.quic.stream import RecvStream, SendStream, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh import _native
    from qsh.quic.endpoint import Endpoint
    from qsh.quic.runtime import Driver

__all__ = ["Closed", "Connection"]


class Closed(NamedTuple):
    """How a connection ended: the engine's word for it, its number, its text."""

    kind: str
    code: int
    text: str


class Connection:
    """Closed with code 0 when dropped; its streams keep it."""

    def __init__(self, endpoint: Endpoint, native: _native.Connection) -> None:
        self.endpoint = endpoint
        self.driver: Driver = endpoint.driver
        self.native = native
        call = self.driver.call
        self._accept_bi: Pending[tuple[_native.SendStream, _native.RecvStream]] = Pending(
            lambda: call(native.accept_bi)
        )
        self._accept_uni: Pending[_native.RecvStream] = Pending(lambda: call(native.accept_uni))
        self._datagram: Pending[bytes] = Pending(lambda: call(native.read_datagram))
        self._activity: Pending[None] = Pending(lambda: call(native.flow_activity))
        self._closed: asyncio.Future[tuple[str, int, str]] | None = None
        self._lost: Closed | None = None

    @property
    def session_id(self) -> bytes:
        """What user and host signatures are about: 46 bytes, equal on both sides."""
        return self.native.session_id

    @property
    def first_id(self) -> bytes:
        """On a server: the connection id in the peer's packets, until it takes another."""
        return self.native.first_id

    @property
    def host_signature(self) -> bytes:
        """On a server: the signing process's SSH signature over the session id."""
        return self.native.host_signature

    @property
    def peer_key(self) -> bytes:
        """The server's public key (SubjectPublicKeyInfo DER)."""
        return self.native.peer_key

    @property
    def peer_key_trusted(self) -> bool:
        """On a client: whether that key was among the trusted ones."""
        return self.native.peer_key_trusted

    @property
    def remote_address(self) -> tuple[str, int]:
        """The peer's present address."""
        return self.native.remote_address

    @property
    def proven_address(self) -> tuple[str, int] | None:
        """On a server: the peer's present address, if it is known to receive there."""
        return self.native.proven_address

    @property
    def address_validated(self) -> bool:
        """On a server: whether the peer has shown that it receives where its handshake came from."""
        return self.native.address_validated

    @property
    def on_stream(self) -> int:
        """The number of the added stream that it is on now; 0: UDP."""
        return self.native.on_stream

    @property
    def ids_retired(self) -> int:
        """How often the peer has retired a connection id."""
        return self.native.ids_retired

    @property
    def movements(self) -> int:
        """Another number when the peer has moved to another address or retired a connection id."""
        return self.native.movements

    @property
    def local_ip(self) -> str | None:
        """The address that the peer's packets came to, where the system tells."""
        return self.native.local_ip

    async def handshake_done(self) -> None:
        """Return when the peer's Finished has arrived."""
        await self.driver.call(self.native.handshake_done)

    async def open_bi(self) -> Stream:
        """A new stream both ways; waits while the peer allows no more."""
        send, recv = await self.driver.call(self.native.open_bi)
        return Stream(self, send, recv)

    async def open_uni(self) -> SendStream:
        """A new stream to the peer."""
        return SendStream(self, await self.driver.call(self.native.open_uni))

    async def accept_bi(self) -> Stream:
        """The next stream that the peer opened both ways."""
        send, recv = await self._accept_bi.wait()
        return Stream(self, send, recv)

    async def accept_uni(self) -> RecvStream:
        """The next stream that the peer opened to us."""
        return RecvStream(self, await self._accept_uni.wait())

    def send_datagram(self, data: bytes) -> None:
        """Queue a datagram, at the cost of the oldest waiting. ValueError: larger than the path takes."""
        self.native.send_datagram(data)

    def probe_path(self, data: bytes) -> None:
        """:meth:`send_datagram` though the congestion window is full: for a path that is not known yet."""
        self.native.probe_path(data)

    def path_changed(self) -> asyncio.Future[None]:
        """Done when from now on the peer's packets come from another address, which may still turn out not to be the peer's.

        TransportError: the connection is gone.
        """
        return self.driver.call(self.native.path_changed)

    async def read_datagram(self) -> bytes:
        """The next datagram that is no flow's."""
        return await self._datagram.wait()

    def each_datagram(self, take: Callable[[bytes], None]) -> None:
        """Hand every datagram that is no flow's to ``take`` as soon as the engine tells of it, until the connection's end. Not
        beside :meth:`read_datagram`.
        """

        def received(data: Any, error: Exception | None) -> None:
            if error is None:
                if not self.driver.closed:
                    self.driver.call_back(self.native.read_datagram, received)
                take(data)

        self.driver.call_back(self.native.read_datagram, received)

    def splice_flow(self, flow: int, fd: int) -> asyncio.Future[None]:
        """Move the datagrams of this number to and from a datagram socket, which is given away, from now on.

        The future is done when the flow has ended: by :meth:`end_flow`, with the connection, or with a SOCK_SEQPACKET socket's
        other side (DescriptorError: the socket failed); it may be dropped. Raises ValueError, OSError (``_native.pyi``).
        """
        return self.driver.call(self.native.splice_flow, flow, fd)

    def end_flow(self, flow: int) -> None:
        """End a flow, if there is one of this number."""
        self.native.end_flow(flow)

    @property
    def flow_drops(self) -> tuple[int, int]:
        """Datagrams of flows dropped so far: of those received, of those to be sent."""
        return self.native.flow_drops()

    async def flow_activity(self) -> None:
        """Return when the next datagram of any flow has come or gone. One waiter at a time; costs nothing meanwhile."""
        await self._activity.wait()

    async def path_news(self, *, first: bool) -> tuple[int, int, int]:
        """The path's round-trip time in microseconds, lost packets of a million, and congestion window, when one differs from
        what was told before; ``first``: at once. One waiter at a time.
        """
        rtt_us, loss_ppm, window = await self.driver.call(self.native.path_news, first=first)
        return rtt_us, loss_ppm, window

    @property
    def max_datagram_size(self) -> int | None:
        """Bytes that a datagram may have now; None if the peer takes none."""
        return self.native.max_datagram_size()

    def set_limits(self, *, bidi_streams: int, uni_streams: int, connection_window: int) -> None:
        """What the peer may have open and send from now on."""
        self.native.set_limits(
            bidi_streams=bidi_streams, uni_streams=uni_streams, connection_window=connection_window
        )

    def stats(self) -> dict[str, int]:
        """The engine's counters (see ``_native.pyi``)."""
        return self.native.stats()

    def close(self, code: int = 0, reason: bytes = b"") -> None:
        """End the connection at once. What was not acknowledged may be lost."""
        self.native.close(code, reason)

    def lose(self, text: str, code: int) -> None:
        """Close it with this code, and tell who waits for the end that the network has lost it."""
        if self._lost is None:
            self._lost = Closed("lost", 0, text)
            self.native.close(code, b"")

    async def flushed(self) -> None:
        """After :meth:`close`: return when the peer has been told (or 100 ms have passed)."""
        await self.driver.call(self.native.flushed)

    async def closed(self) -> Closed:
        """How the connection ended, once it has. Never an error; may be awaited by many."""
        if self._closed is None:
            self._closed = self.driver.call(self.native.closed)
        closed = Closed(*await asyncio.shield(self._closed))
        return self._lost if self._lost is not None and closed.kind == "closed-locally" else closed
