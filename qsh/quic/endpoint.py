"""UDP sockets, or streams of packets, that connections come from and go to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qsh import _native
from qsh.errors import TransportError
from qsh.quic.connection import Connection
from qsh.quic.runtime import Pending, connect_error_of

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from qsh.quic.early import Early
    from qsh.quic.runtime import Driver

__all__ = [
    "Endpoint",
    "Incoming",
    "Signer",
    "client_endpoint",
    "server_endpoint",
    "stream_endpoint",
]

Signer = _native.Signer


def client_endpoint(driver: Driver, udp: socket.socket, **options: Any) -> Endpoint:
    """An endpoint that connects. ``udp`` is duplicated; options as in ``_native.Endpoint``."""
    return Endpoint(driver, _native.Endpoint(driver.native, udp.fileno(), server=False, **options))


def server_endpoint(driver: Driver, udp: socket.socket, **options: Any) -> Endpoint:
    """An endpoint that accepts. ``udp`` is duplicated; options as in ``_native.Endpoint``."""
    return Endpoint(driver, _native.Endpoint(driver.native, udp.fileno(), server=True, **options))


def stream_endpoint(
    driver: Driver, fd: int, peer: tuple[str, int], *, server: bool = False, **options: Any
) -> Endpoint:
    """An endpoint over one stream to ``peer``. ``fd`` is duplicated; options as in ``_native.Endpoint``."""
    return Endpoint(
        driver, _native.Endpoint(driver.native, fd, server=server, peer=peer, **options)
    )


class Endpoint:
    """One UDP socket, or stream. Closed when dropped; its connections keep it."""

    def __init__(self, driver: Driver, native: _native.Endpoint) -> None:
        self.driver = driver
        self.native = native
        self.carried: tuple[str, str] | None = None
        """For people, where it is not UDP: what carries the packets, and to where."""
        self.moved: Callable[[str, str], None] | None = None
        """Told from what to what its connections have moved, in words for people, by who has moved them."""
        self.minded = False
        """Somebody decides what carries the packets, and nobody else has to."""
        self.in_login = True
        """A client has not said that its login is over."""
        self._accept: Pending[_native.Incoming | None] = Pending(lambda: driver.call(native.accept))

    @classmethod
    def adopt(cls, driver: Driver, early: Early) -> tuple[Endpoint, Awaitable[Connection]]:
        """What ``early`` has begun; ``driver`` was made with it. The second is as from :meth:`connect`."""
        if driver.begun is None:
            raise ValueError("the driver was not made with this")
        endpoint = cls(driver, early.endpoint)
        return endpoint, endpoint._connected(driver.begun)

    async def _connected(self, call: Awaitable[_native.Connection]) -> Connection:
        try:
            return Connection(self, await call)
        except TransportError as error:
            raise connect_error_of(error) from None

    @property
    def local_address(self) -> tuple[str, int]:
        """What the socket is bound to."""
        return self.native.local_address()

    @property
    def open_connections(self) -> int:
        """Connections that have not drained."""
        return self.native.open_connections()

    @property
    def withheld(self) -> int:
        """Datagrams kept back from addresses that have proven nothing."""
        return self.native.withheld()

    async def connect(
        self,
        host: str,
        port: int,
        *,
        server_name: str,
        schemes: Sequence[int],
        trusted: Sequence[bytes] = (),
        revoked: Sequence[bytes] = (),
        key_log: str | None = None,
        qlog: str | None = None,
        timeout_s: float | None = None,
        largest: int | None = None,
    ) -> Connection:
        """A connection to an IP literal. Raises ConnectError, HostKeyError for a revoked key.

        Any other key is let through: look at :attr:`Connection.peer_key_trusted` before anything is sent.
        """
        return await self._connected(
            self.driver.call(
                self.native.connect,
                host,
                port,
                server_name=server_name,
                schemes=list(schemes),
                trusted=list(trusted),
                revoked=list(revoked),
                key_log=key_log,
                qlog=qlog,
                timeout_s=timeout_s,
                largest=largest,
            )
        )

    async def accept(self) -> Incoming | None:
        """The next first packet, None when the endpoint is closed."""
        native = await self._accept.wait()
        return None if native is None else Incoming(self, native)

    def rebind(self, udp: socket.socket) -> None:
        """Go on with another socket; connections migrate."""
        self.native.rebind(udp.fileno())
        self.carried = None

    def rebind_stream(self, fd: int, peer: tuple[str, int], write_fd: int | None = None) -> None:
        """Go on with a stream to ``peer``; connections migrate."""
        self.native.rebind(fd, peer=peer, write_fd=write_fd)

    def send_again(self) -> None:
        """On a client whose login is not over: the last packets once more, and each twice from now on (17.14)."""
        self.native.send_again()

    def login_over(self) -> None:
        """What is lost from now on is the engine's affair."""
        if self.in_login:
            self.in_login = False
            self.native.login_over()

    def add_stream(
        self, fd: int, peer: tuple[str, int], write_fd: int | None = None
    ) -> asyncio.Future[tuple[str, bytes]]:
        """Take packets from one more stream; its end, as from :meth:`stream_ended`. Raises OSError at once."""
        return self.driver.call(self.native.add_stream, fd, *peer, write_fd=write_fd)

    def close_stream(self, number: int) -> None:
        """Close the one that an Incoming came on."""
        self.native.close_stream(number)

    def keep_streams(self, numbers: Iterable[int]) -> None:
        """``numbers``: those that carry connections. Another that was answered is closed if that is so the next time, too."""
        self.native.keep_streams(set(numbers))

    @property
    def open_streams(self) -> int:
        """Streams that were added and are not over."""
        return self.native.open_streams()

    def stream_ended(self) -> asyncio.Future[tuple[str, bytes]]:
        """Why its own stream is over, and the first bytes of somebody who speaks otherwise."""
        return self.driver.call(self.native.stream_ended)

    def close(self, code: int = 0, reason: bytes = b"") -> None:
        """Close every connection and accept no more."""
        self.native.close(code, reason)

    async def wait_idle(self) -> None:
        """Return when all connections have drained."""
        await self.driver.call(self.native.wait_idle)


class Incoming:
    """A first packet that was not answered yet. Dropping it refuses."""

    def __init__(self, endpoint: Endpoint, native: _native.Incoming) -> None:
        self.endpoint = endpoint
        self.native = native

    @property
    def remote_address(self) -> tuple[str, int]:
        """Where it says it comes from."""
        return self.native.remote_address

    @property
    def address_validated(self) -> bool:
        """Whether it has shown that it receives there."""
        return self.native.address_validated

    @property
    def stream(self) -> int:
        """The number of the stream that it came on; 0: UDP."""
        return self.native.stream

    async def accept(self, signer: _native.Signer) -> Connection:
        """A connection whose first flight is signed: streams may be written, the peer is still unknown."""
        try:
            native = await self.endpoint.driver.call(self.native.accept, signer)
        except TransportError as error:
            raise connect_error_of(error) from None
        return Connection(self.endpoint, native)

    def retry(self) -> bool:
        """Ask for a proof of the address; False if there already is one."""
        return self.native.retry()

    def refuse(self) -> None:
        """Say no."""
        self.native.refuse()

    def ignore(self) -> None:
        """Say nothing."""
        self.native.ignore()
