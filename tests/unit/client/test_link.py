"""A connection to a server that may be anything: what it sends is named, shown harmlessly, or ends the connection."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest

from qsh.client.link import Link
from qsh.client.log import log
from qsh.errors import AuthenticationError, ConnectionLost
from qsh.wire.framing import encode
from qsh.wire.messages import (
    Auth,
    AuthAccepted,
    AuthContinue,
    AuthRefused,
    Banner,
    Exit,
    Hello,
    HostAuth,
    Message,
    Open,
    StderrHeader,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
HELLO = Hello(versions=[1], software="qshd\x1b[2J")


class FakeStream:
    """Both halves: reads come from a queue of bytes."""

    def __init__(self, number: int, *data: bytes) -> None:
        self.id = number
        self.send = self.recv = self
        self.written = b""
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        for each in data:
            self.incoming.put_nowait(each)
        self.rest = b""
        self.total = 0
        self.replies: list[bytes] = []
        """One for each write."""

    async def write(self, data: bytes) -> None:
        self.written += data
        if self.replies:
            self.incoming.put_nowait(self.replies.pop(0))

    async def read(self, max_bytes: int = 65536) -> bytes:
        if not self.rest:
            self.rest = await self.incoming.get()
        data, self.rest = self.rest[:max_bytes], self.rest[max_bytes:]
        return data

    def set_priority(self, priority: int) -> None: ...
    def stop(self, code: int = 0) -> None: ...


class Gone(NamedTuple):
    kind: str
    code: int
    text: str


class FakeConnection:
    """Streams that the test has prepared."""

    def __init__(self, *uni: FakeStream) -> None:
        self.endpoint = SimpleNamespace()
        self.control = FakeStream(0)
        self.bi = [FakeStream(4), self.control]
        self.uni: asyncio.Queue[FakeStream] = asyncio.Queue()
        for each in uni:
            self.uni.put_nowait(each)
        self.gone: asyncio.Future[Gone] = asyncio.get_running_loop().create_future()
        self.closed_with: tuple[int, bytes] | None = None

    async def open_bi(self) -> FakeStream:
        return self.bi.pop()

    async def accept_uni(self) -> FakeStream:
        return await self.uni.get()

    async def closed(self) -> Gone:
        return await self.gone

    def close(self, code: int = 0, reason: bytes = b"") -> None:
        self.closed_with = (code, reason)


class FakeAuthenticator:
    """One more attempt, then nothing."""

    methods = ("publickey",)

    def __init__(self) -> None:
        self.answers: list[Message] = []

    def answer(self, message: AuthContinue | AuthRefused) -> Auth | None:
        self.answers.append(message)
        return Auth("u") if len(self.answers) == 1 else None


def run(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 10))


async def login(connection: FakeConnection, *messages: Message | bytes) -> AuthAccepted:
    link = Link(connection)  # type: ignore[arg-type]
    link.listen()
    await link.open_control()
    for message in messages:
        data = message if isinstance(message, bytes) else encode(message)
        connection.control.incoming.put_nowait(data)
    return await link.login(FakeAuthenticator(), Auth("u"))  # type: ignore[arg-type]


def test_login() -> None:
    async def work() -> None:
        connection = FakeConnection()
        connection.control.replies = [encode(AuthContinue([0])), encode(AuthAccepted("s"))]
        assert (await login(connection, HELLO)).session == "s"
        assert connection.control.written.count(encode(Auth("u"))) == 2

    run(work())


def test_refused_to_the_end() -> None:
    async def work() -> None:
        connection = FakeConnection()
        connection.control.replies = [encode(AuthRefused()), encode(AuthRefused())]
        with pytest.raises(AuthenticationError, match="publickey"):
            await login(connection, HELLO)

    run(work())


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([AuthAccepted()], b"out-of-state"),
        ([HELLO, HELLO], b"out-of-state"),
        ([HELLO, Exit(0, 0, 0, 0)], b"out-of-state"),
        ([b"\0\0\0\5hello"], b"bad-message"),
        ([b"\xff\xff\xff\xff"], b"message-too-large"),
        ([Hello(versions=[9])], b"version"),
        ([HELLO, b""], b"truncated"),
    ],
)
def test_protocol_errors_are_named(messages: list[Message | bytes], code: bytes) -> None:
    async def work() -> None:
        connection = FakeConnection()
        with pytest.raises(ConnectionLost, match=code.decode()):
            await login(connection, *messages)
        assert connection.closed_with == (1, code)

    run(work())


def test_server_text_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(log, "plain", shown.append)

    async def work() -> None:
        await login(FakeConnection(), HELLO, Banner("Hi\n\x1b]0;x\x07"), AuthAccepted())

    run(work())
    assert shown == ["Hi\n\\033]0;x\\007"]


def test_closed_by_the_server_during_login() -> None:
    async def work() -> None:
        connection = FakeConnection()
        connection.gone.set_result(Gone("closed-by-peer", 3, "grace-exceeded"))
        with pytest.raises(ConnectionLost, match=r"LoginGraceTime.*grace-exceeded"):
            await login(connection, HELLO)

    run(work())


def test_closed_with_an_ugly_reason() -> None:
    async def work() -> None:
        connection = FakeConnection()
        connection.gone.set_result(Gone("closed-by-peer", 2, "x\x1b[31m"))
        with pytest.raises(ConnectionLost) as caught:
            await login(connection, HELLO)
        assert str(caught.value) == "x\\033[31m"

    run(work())


def test_streams_of_the_server_find_their_place() -> None:
    async def work() -> None:
        host_auth = HostAuth(key=b"k", signature=b"s")
        connection = FakeConnection(
            FakeStream(3, encode(StderrHeader(4))), FakeStream(7, encode(host_auth))
        )
        link = Link(connection)  # type: ignore[arg-type]
        link.listen()
        assert await link.host_auth(5) == host_auth
        await link.open_control()
        channel = await link.open_channel(Open("exec", b"x"))
        assert channel._stderr.done()

    run(work())


def test_no_host_auth() -> None:
    async def work() -> None:
        link = Link(FakeConnection())  # type: ignore[arg-type]
        link.listen()
        assert await link.host_auth(0.01) is None

    run(work())


def test_garbage_on_a_stream_of_the_server() -> None:
    async def work() -> None:
        connection = FakeConnection(FakeStream(3, b"\0\0\0\1\xc1"))
        link = Link(connection)  # type: ignore[arg-type]
        link.listen()
        lost = await link.lost
        assert "bad-message" in str(lost)
        assert connection.closed_with == (1, b"bad-message")

    run(work())
