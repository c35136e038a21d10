"""Many clients in one process: the engine and the wire, without a program, a screen or a log for each.

A session here is what the server sees of a real client's: a login, a terminal, typed bytes as datagram and on the stream, and
a report when output has come.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qsh.auth import userauth
from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.channels.frames import read_frame
from qsh.client.resume_key import ResumeKey
from qsh.errors import QshError, TransportError
from qsh.quic import Driver, client_endpoint, client_socket
from qsh.wire import flow, framing
from qsh.wire.channel import AnswerReader
from qsh.wire.control import ClientControl
from qsh.wire.messages import (
    Attach,
    Auth,
    AuthAccepted,
    AuthRefused,
    Offer,
    Open,
    Opened,
    Proof,
    Pty,
)
from qsh.wire.terminal import (
    Attached,
    Frame,
    HostDatagram,
    HostFrame,
    Input,
    Output,
    Report,
    TerminalDecoder,
    decode_datagram,
    encode,
    encode_datagram,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from qsh.auth.keys import PublicKey
    from qsh.quic import Connection, Endpoint, Stream

__all__ = ["Clients", "ManySession", "at_a_time"]

PER_SOCKET = 50
"""Connections that share a UDP socket: one for each would be descriptors, and nothing else to the server."""
PTY = Pty("xterm-256color", 24, 80)
LARGEST: int | None = None
LIMIT_S = 60.0


class Clients:
    """All connections of this process to one server. Made in a running loop."""

    def __init__(self, port: int, user: str, key: Path | None, host_key: PublicKey) -> None:
        self.port, self.user, self.host_key = port, user, host_key
        text = generate_ed25519("bench")[0].encode() if key is None else key.read_bytes()
        self.key = PrivateKey.load(text, None, str(key))
        self.driver = Driver()
        self._endpoints: list[Endpoint] = []
        self._count = 0

    def _endpoint(self) -> Endpoint:
        if self._count % PER_SOCKET == 0:
            with client_socket("127.0.0.1") as udp:
                self._endpoints.append(client_endpoint(self.driver, udp))
        self._count += 1
        return self._endpoints[-1]

    async def login(
        self, resume: ResumeKey | None = None, message: Open | None = None
    ) -> tuple[Connection, Stream]:
        """A connection that is logged in, with its control stream; resumed, to send ``message``, with a key that has a record."""
        connection, control = await self._connect()
        hello = ClientControl()
        auth = None if resume is None else resume.auth(self.user, connection.session_id, message)
        if auth is None:
            auth = self._auth(connection, b"" if resume is None else resume.public)
        try:
            await control.send.write(hello.send_hello("bench") + hello.send(auth))
            accepted = await self._accepted(hello, control)
        except BaseException:
            connection.close(0, b"")
            raise
        if resume is not None:
            resume.granted(accepted.resume, self.key.public.blob)
        return connection, control

    async def _connect(self) -> tuple[Connection, Stream]:
        connection = await self._endpoint().connect(
            "127.0.0.1",
            self.port,
            server_name="localhost",
            schemes=[0x0807],
            trusted=[self.host_key.spki()],
            largest=LARGEST,
        )
        return connection, await connection.open_bi()

    def _auth(self, connection: Connection, resume_key: bytes) -> Auth:
        blob, host = self.key.public.blob, self.host_key.blob
        algorithm = userauth.default_algorithm(self.key.public.type)
        text = userauth.signed_data(connection.session_id, self.user, algorithm, blob, host)
        proof = Proof(0, algorithm, self.key.sign(text))
        return Auth(self.user, [Offer(blob)], proof, resume_key)

    async def _accepted(self, wire: ClientControl, control: Stream) -> AuthAccepted:
        while True:
            data = await control.recv.read()
            if not data:
                raise QshError("the server closed the control stream")
            for message in wire.receive(data):
                if isinstance(message, AuthAccepted):
                    return message
                if isinstance(message, AuthRefused):
                    raise QshError("the server refuses the login")

    async def run(self, command: bytes) -> None:
        """One login with one command, all of it: until its output has ended. As a client it asks in the login's flight."""
        connection, control = await self._connect()
        wire = ClientControl()
        await control.send.write(wire.send_hello("bench") + wire.send(self._auth(connection, b"")))
        stream = await connection.open_bi()
        await stream.send.write(framing.encode(Open("exec", command)))
        stream.send.finish()
        await self._accepted(wire, control)
        await read_frame(stream.recv, AnswerReader())
        while await stream.recv.read():
            pass
        connection.close(0, b"")

    async def session(self, command: bytes = b"", attach: ManySession | None = None) -> ManySession:
        """A terminal: a new one, or that of a session whose connection was lost."""
        if attach is None:
            client, resume = os.urandom(16), ResumeKey()
            kind = "exec" if command else "shell"
            message = Open(kind, command, PTY, terminal=Attach(client, exact=True))
        else:
            client, name, resume = attach.client, attach.name.encode(), attach.resume
            again = Attach(client, attach.ticket, attach.position, exact=True)
            message = Open("attach", name, PTY, terminal=again)
        connection, control = await self.login(resume, message)
        accepted_at = time.perf_counter()
        try:
            stream = await connection.open_bi()
            await stream.send.write(framing.encode(message))
            answer, _ = await read_frame(stream.recv, AnswerReader())
            if not isinstance(answer, Opened):
                raise QshError(f"no terminal: {answer}")
        except BaseException:
            connection.close(0, b"")
            raise
        typed = attach.typed if attach else 0
        return ManySession(
            connection, control, stream, client, resume, typed=typed, accepted_at=accepted_at
        )

    @property
    def open_connections(self) -> int:
        """Those that live."""
        return sum(endpoint.open_connections for endpoint in self._endpoints)

    def close(self) -> None:
        """All of them."""
        for endpoint in self._endpoints:
            endpoint.close(0, b"")
        self.driver.close()


@dataclass(eq=False)
class ManySession:
    """One terminal. :meth:`serve` runs until its connection ends."""

    connection: Connection
    control: Stream
    stream: Stream
    client: bytes
    resume: ResumeKey
    name: str = ""
    ticket: bytes = b""
    position: int = 0
    """Of output."""
    typed: int = 0
    accepted_at: float = 0.0
    """When the login was answered."""
    _waiting: dict[int, float] = field(default_factory=dict)
    """When what made the input so long was typed."""
    echoes_ms: list[float] = field(default_factory=list)
    attached: asyncio.Event = field(default_factory=asyncio.Event)
    """The host has said which terminal it is."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """All keys have an echo."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Output has come."""

    async def serve(self) -> None:
        """Raises nothing for the end of the connection."""
        decoder: TerminalDecoder[HostFrame] = TerminalDecoder(HostFrame)
        self.connection.each_datagram(self._take)
        try:
            while data := await self.stream.recv.read():
                for message in decoder.receive(data):
                    if isinstance(message, Attached):
                        self.name, self.ticket = message.name, message.ticket
                        self.position = max(self.position, message.start)
                        self.typed = message.received
                        self.attached.set()
                    elif isinstance(message, Output | Frame):
                        self._output(message)
        except TransportError:
            pass

    def _take(self, data: bytes) -> None:
        parts = flow.split(data)
        message = decode_datagram(parts[1], HostDatagram) if parts is not None else None
        if isinstance(message, Output):
            self._output(message)

    def _output(self, message: Output | Frame) -> None:
        end = message.offset + (len(message.data) if isinstance(message, Output) else 0)
        if end <= self.position:
            return
        self.position = end
        now = time.perf_counter()
        for length in [each for each in self._waiting if each <= message.applied]:
            self.echoes_ms.append((now - self._waiting.pop(length)) * 1000)
        self.ready.set()
        if not self._waiting:
            self.answered.set()
        self._datagram(Report(self.position, 200))

    def _datagram(self, message: Input | Report) -> None:
        payload = encode_datagram(message)
        self.connection.send_datagram(flow.prefix(self.stream.id) + payload)

    def type(self, data: bytes) -> None:
        """As a client does: in a datagram, and on the stream."""
        message = Input(self.typed, data, self.position)
        self.typed += len(data)
        self._waiting[self.typed] = time.perf_counter()
        self._datagram(message)
        self.stream.send.put(encode(message))

    @property
    def missing(self) -> int:
        """Keys whose echo has not come."""
        return len(self._waiting)


async def at_a_time(count: int, limit: int, make: Callable[[], Awaitable[None]]) -> list[float]:
    """``count`` calls, at most ``limit`` under way; the seconds that each took."""
    left, took = iter(range(count)), list[float]()

    async def work() -> None:
        for _ in left:
            began = time.perf_counter()
            await asyncio.wait_for(make(), LIMIT_S)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(work() for _ in range(limit)))
    return took
