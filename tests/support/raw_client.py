"""A client that says what a test wants said: the wire without qsh's manners."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qsh.auth import userauth
from qsh.auth.private import PrivateKey
from qsh.channels.frames import read_frame
from qsh.quic import Driver, client_endpoint, client_socket
from qsh.wire import framing
from qsh.wire.channel import AnswerReader
from qsh.wire.control import ClientControl
from qsh.wire.messages import Auth, AuthAccepted, Hello, Offer, Proof

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from qsh.auth.keys import PublicKey
    from qsh.quic import Closed, Connection, Stream
    from qsh.wire.messages import Failed, Message, Open, Opened
    from tests.support.live_server import LiveServer

__all__ = ["RawClient", "logged_in", "raw_client"]

LIMIT_S = 20.0


@dataclass
class RawClient:
    """One connection with its control stream."""

    connection: Connection
    control: Stream
    host_key: PublicKey
    wire: ClientControl = field(default_factory=ClientControl)
    inbox: list[Message] = field(default_factory=list)

    def auth(self, user: str, key: PrivateKey, session_id: bytes | None = None) -> Auth:
        """An AUTH with a proof over this (or another) session id."""
        blob = key.public.blob
        algorithm = userauth.default_algorithm(key.public.type)
        data = userauth.signed_data(
            session_id or self.connection.session_id, user, algorithm, blob, self.host_key.blob
        )
        return Auth(user=user, offers=[Offer(blob)], proof=Proof(0, algorithm, key.sign(data)))

    async def say(self, *messages: Message) -> None:
        """Write frames whatever the state; the first call says HELLO too."""
        hello = self.wire.send_hello("raw") if not self.wire._said_hello else b""
        await self.control.send.write(hello + b"".join(map(framing.encode, messages)))
        if any(isinstance(message, Auth) for message in messages):
            self.wire._state = type(self.wire.state).PENDING

    async def asked(self, request: Open) -> tuple[Stream, Opened | Failed]:
        """A new stream that begins with this, and the answer."""
        stream = await self.connection.open_bi()
        await stream.send.write(framing.encode(request))
        answer, _ = await asyncio.wait_for(read_frame(stream.recv, AnswerReader()), LIMIT_S)
        return stream, answer

    async def hear(self) -> Message:
        """The server's next message."""
        while not self.inbox:
            data = await self.control.recv.read()
            assert data, "the server closed the control stream"
            self.inbox += self.wire.receive(data)
        return self.inbox.pop(0)

    async def closed(self) -> Closed:
        """How the connection ended."""
        return await self.connection.closed()


@contextlib.asynccontextmanager
async def raw_client(
    port: int, host_key: PublicKey, *, key_log: str | None = None, source: str = "0.0.0.0"
) -> AsyncIterator[RawClient]:
    """Connect to loopback, from ``source``."""
    async with Driver() as driver:
        with client_socket("127.0.0.1", source) as udp:
            endpoint = client_endpoint(driver, udp)
        connection = await endpoint.connect(
            "127.0.0.1",
            port,
            server_name="localhost",
            schemes=[0x0807],
            trusted=[host_key.spki()],
            revoked=[],
            key_log=key_log,
        )
        yield RawClient(connection, await connection.open_bi(), host_key)
        connection.close(0, b"")
        await connection.flushed()


def load_key(path: Path) -> PrivateKey:
    """A private key file."""
    return PrivateKey.load(path.read_bytes(), None, str(path))


@contextlib.asynccontextmanager
async def logged_in(server: LiveServer) -> AsyncIterator[RawClient]:
    """As the server's own user."""
    async with raw_client(server.port, server.host_key) as client:
        await client.say(client.auth(server.user, load_key(server.home / "id")))
        async with asyncio.timeout(LIMIT_S):
            while not isinstance(message := await client.hear(), AuthAccepted):
                assert isinstance(message, Hello)
        yield client
