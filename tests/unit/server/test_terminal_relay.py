"""Terminal channels in the front: a real connection, with the session host played by the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qsh.errors import (
    ChannelError,
    ConnectionLost,
    QshError,
    RemoteProtocolError,
    StreamReset,
)
from qsh.server.channel import ServerChannel
from qsh.server.connection import Limits, ServerConnection
from qsh.server.links import HostLink
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import (
    ChannelFailed,
    ChannelOpened,
    HangUp,
    HostRequest,
    OpenChannel,
    PathState,
)
from qsh.server.terminal_relay import PathReporter, TerminalRelay, is_farewell
from qsh.wire import flow, framing
from qsh.wire.messages import Attach, Failed, Open, Opened, Pty, Signal, WindowChange
from tests.unit.quic.engine import engine_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from qsh.quic import Connection, Stream

SHELL = Open("shell", pty=Pty("vt100", 24, 80), terminal=Attach(bytes(16)))
ATTACH = Open("attach", b"blue-otter", pty=Pty("vt100", 24, 80), terminal=Attach(bytes(16)))


class Host:
    """The session host's end of a link, and of the terminal's two sockets."""

    def __init__(self) -> None:
        ours, theirs = packet_pair()
        self.link = HostLink(theirs.detach())
        self.packets: PacketSocket[Any] = PacketSocket(ours, HostRequest)
        self.stream, self.far_stream = socket.socketpair()
        self.datagrams, self.far_datagrams = socket.socketpair(type=socket.SOCK_DGRAM)
        self.stream.setblocking(False)
        self.datagrams.setblocking(False)

    async def request(self) -> Any:
        readable, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self.packets.fileno(), readable.set)
        await readable.wait()
        loop.remove_reader(self.packets.fileno())
        received = self.packets.receive()
        assert received is not None
        return received[0]

    def no_request(self) -> bool:
        return self.packets.receive() is None

    def answer(self, request: OpenChannel, notices: tuple[str, ...] = ()) -> None:
        far = [self.far_stream.detach(), self.far_datagrams.detach()]
        self.packets.send(ChannelOpened(request.channel, list(notices), terminal=True), far)

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.stream, 65536)

    async def read_datagram(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.datagrams, 65536)

    async def until_the_flow_ends(self) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                with contextlib.suppress(BlockingIOError):
                    self.datagrams.send(b"to nobody soon")
                await asyncio.sleep(0.002)

    def sees_the_end(self) -> bool:
        try:
            return self.stream.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.link.close()
        self.packets.close()
        for sock in (self.stream, self.far_stream, self.datagrams, self.far_datagrams):
            sock.close()


class Setup:
    def __init__(self, client: Connection, server: Connection, host: Host) -> None:
        self.client, self.server, self.host = client, server, host
        self.stream: Stream
        self.channel: ServerChannel
        self.running: asyncio.Task[Any]

    async def ask(self, request: Open) -> OpenChannel:
        self.stream = await self.client.open_bi()
        await self.stream.send.write(framing.encode(request))
        theirs = await self.server.accept_bi()
        self.channel = ServerChannel(self.server, theirs, self.host.link, asyncio.Semaphore())
        self.running = asyncio.create_task(self.channel.run())
        asked = await self.host.request()
        assert isinstance(asked, OpenChannel)
        return asked

    async def heard(self) -> bytes:
        """A whole frame of the server's."""
        data = b""
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            data += await self.stream.recv.read()
        return data

    async def open(self, request: Open = SHELL) -> None:
        self.host.answer(await self.ask(request), ("welcome",))
        assert await self.heard() == framing.encode(Opened(notices=["welcome"], terminal=True))


@contextlib.asynccontextmanager
async def setup() -> AsyncIterator[Setup]:
    async with engine_pair() as pair:
        client, server = await pair.connect()
        host = Host()
        try:
            yield Setup(client, server, host)
        finally:
            host.close()


def test_stream_and_datagrams_go_both_ways() -> None:
    async def main() -> None:
        async with setup() as s:
            asked = await s.ask(SHELL)
            assert asked == OpenChannel(
                s.stream.id, "shell", pty=SHELL.pty, terminal=SHELL.terminal
            )
            s.host.answer(asked)
            assert await s.heard() == framing.encode(Opened(terminal=True))
            await s.stream.send.write(b"typed")
            assert await s.host.read() == b"typed"
            s.host.stream.send(b"shown")
            assert await s.stream.recv.read() == b"shown"
            s.client.send_datagram(flow.prefix(s.stream.id) + b"key")
            assert await s.host.read_datagram() == b"key"
            s.host.datagrams.send(b"echo")
            assert await s.client.read_datagram() == flow.prefix(s.stream.id) + b"echo"

    asyncio.run(main())


def test_half_close_and_the_hosts_end() -> None:
    async def main() -> None:
        async with setup() as s:
            await s.open()
            s.stream.send.finish()
            assert await s.host.read() == b""
            s.host.stream.send(b"last words")
            s.host.stream.close()
            assert await s.stream.recv.read() == b"last words"
            assert await s.stream.recv.read() == b""
            assert await s.running is None
            assert s.host.no_request()
            await s.host.until_the_flow_ends()
            assert not s.host.link._exits

    asyncio.run(main())


def test_a_host_that_only_shuts_down_sees_the_end() -> None:
    async def main() -> None:
        async with setup() as s:
            await s.open()
            s.host.stream.shutdown(socket.SHUT_WR)
            assert await s.stream.recv.read() == b""
            assert await s.running is None
            assert await s.host.read() == b""
            assert s.host.no_request()

    asyncio.run(main())


@pytest.mark.parametrize("request_", [SHELL, ATTACH], ids=["new", "attached"])
@pytest.mark.parametrize("how", ["reset", "stop"])
def test_a_client_that_gives_its_channel_up_hangs_up(request_: Open, how: str) -> None:
    async def main() -> None:
        async with setup() as s:
            await s.open(request_)
            if how == "reset":
                s.stream.send.reset(1)
            else:
                s.stream.recv.stop(1)
                with contextlib.suppress(BrokenPipeError):  # the front may have heard already
                    s.host.stream.send(b"what nobody wants")
            assert await s.host.request() == HangUp(s.stream.id)
            assert await s.running is None
            assert s.host.no_request()
            if how == "reset":
                assert await s.host.read() == b""

    asyncio.run(main())


@pytest.mark.parametrize("request_", [SHELL, ATTACH], ids=["new", "attached"])
def test_a_lost_connection_leaves_the_terminal(request_: Open) -> None:
    async def main() -> None:
        async with setup() as s:
            await s.open(request_)
            s.client.close(1, b"not in good order")
            with pytest.raises(ConnectionLost):
                await s.running
            assert await s.host.read() == b""
            assert s.host.no_request()

    asyncio.run(main())


def test_a_closed_connection_hangs_up_before_the_host_sees_the_end() -> None:
    async def main() -> None:
        async with setup() as s:
            await s.open()
            hang_up, ended_first = s.host.link.hang_up, []

            def watched(channel: int) -> None:
                ended_first.append(s.host.sees_the_end())
                hang_up(channel)

            s.host.link.hang_up = watched  # type: ignore[method-assign]
            s.client.close(0)
            with pytest.raises(ConnectionLost):
                await s.running
            assert ended_first == [False]
            assert await s.host.request() == HangUp(s.stream.id)
            assert s.host.no_request()
            assert await s.host.read() == b""

    asyncio.run(main())


@pytest.mark.parametrize(("request_", "hung_up"), [(SHELL, True), (ATTACH, False)])
def test_a_client_that_ends_while_its_terminal_opens(request_: Open, hung_up: bool) -> None:
    async def main() -> None:
        async with setup() as s:
            asked = await s.ask(request_)
            s.channel.client_ended()
            s.channel.client_ended()
            s.running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await s.running
            s.host.answer(asked)
            assert await s.host.read() == b""  # its sockets are closed, whoever gets the terminal
            if hung_up:
                assert await s.host.request() == HangUp(asked.channel)
            assert s.host.no_request()

    asyncio.run(main())


def test_the_connection_says_when_its_client_has_ended() -> None:
    async def main() -> None:
        async with setup() as s:
            await s.open()
            s.channel.client_ended()
            assert not s.host.sees_the_end()
            s.running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await s.running
            assert await s.host.request() == HangUp(s.stream.id)
            assert s.host.no_request()
            assert await s.host.read() == b""
            s.channel.client_ended()
            assert s.host.no_request()

    asyncio.run(main())


def test_window_changes_and_signals_go_in_band() -> None:
    async def main() -> None:
        async with setup() as s:
            await s.open()
            await s.channel.resize(WindowChange(s.stream.id, 50, 100))
            s.channel.signal(Signal(s.stream.id, "INT"))
            s.host.stream.close()
            await s.running
            assert s.host.no_request()

    asyncio.run(main())


def test_a_refusal_is_passed_on() -> None:
    async def main() -> None:
        async with setup() as s:
            asked = await s.ask(ATTACH)
            s.host.packets.send(ChannelFailed(asked.channel, "not-permitted", "no"))
            assert await s.heard() == framing.encode(Failed("not-permitted", "no"))
            assert await s.running is None
            s.channel.client_ended()
            assert s.host.no_request()

    asyncio.run(main())


@pytest.mark.parametrize("count", [2, 4])
def test_sockets_that_are_none_or_too_many_cost_the_channel_only(count: int) -> None:
    async def main() -> None:
        async with setup() as s:
            asked = await s.ask(SHELL)
            pipes = [os.pipe() for _ in range(count)]
            answer = ChannelOpened(asked.channel, terminal=True)
            s.host.packets.send(answer, [writer for _, writer in pipes])
            assert b"resources" in await s.heard()
            assert await s.running is None
            assert await s.host.request() == HangUp(asked.channel)
            for reader, _ in pipes:
                os.set_blocking(reader, False)
                assert os.read(reader, 1) == b""  # nobody has the other end any more
                os.close(reader)

    asyncio.run(main())


def test_a_relay_that_cannot_begin_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_: int) -> int:
        raise OSError(24, "Too many open files")

    one, other = socket.socketpair(), socket.socketpair()
    monkeypatch.setattr(os, "dup", no_more)
    connection: Any = SimpleNamespace(end_flow=lambda number: None)
    stream: Any = SimpleNamespace(recv=SimpleNamespace(id=4))
    with pytest.raises(OSError, match="Too many"):
        TerminalRelay(connection, stream, [one[0].detach(), other[0].detach()])
    for _, far in (one, other):
        far.setblocking(False)
        assert far.recv(1) == b""
        far.close()


# -- the end of a connection ---------------------------------------------------------------------


def lost(kind: str, code: int = 0) -> ConnectionLost:
    return ConnectionLost("gone", kind=kind, code=code)


@pytest.mark.parametrize(
    ("end", "in_good_order"),
    [
        (None, True),
        (lost("closed-by-peer"), True),
        (lost("closed-by-peer", 1), False),
        (lost("timeout"), False),
        (lost("reset-by-peer"), False),
        (lost("lost"), False),
        (lost("closed-locally"), False),
        (StreamReset("control", kind="reset", code=0), False),
        (RemoteProtocolError("bad-message"), False),
        (ChannelError("the monitor is gone"), False),
    ],
    ids=str,
)
def test_which_ends_are_in_good_order(end: QshError | None, in_good_order: bool) -> None:
    async def main() -> None:
        said: list[str] = []
        connection: Any = SimpleNamespace(
            remote_address=("::1", 1),
            session_id=bytes(46),
            address_validated=False,
            close=lambda code, reason: said.append("close"),
        )
        monitor: Any = SimpleNamespace(forget=lambda session_id, **_: None)
        log: Any = SimpleNamespace(info=lambda text, **fields: None)
        served = ServerConnection(
            connection,
            None,
            monitor,
            Limits(0, b""),
            ("::1", 22),
            lambda: None,
            log,  # type: ignore[arg-type]
        )
        channel: Any = SimpleNamespace(client_ended=lambda: said.append("ended"))
        served._channels[4] = channel

        async def greet() -> None: ...

        async def serve(_: object) -> None:
            if end is not None:
                raise end

        served._greet, served._serve = greet, serve  # type: ignore[method-assign,assignment]
        await served.run()
        assert said == (["ended", "close"] if in_good_order else ["close"])

    asyncio.run(main())


def test_a_stream_that_was_reset_is_no_farewell() -> None:
    assert not is_farewell(StreamReset("", kind="reset", code=0))
    assert is_farewell(lost("closed-by-peer"))


# -- how the path does ---------------------------------------------------------------------------


class Path:
    """A connection whose news the test tells."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        """Whether it was for the first ones."""
        self.news: asyncio.Queue[tuple[int, int, int]] = asyncio.Queue()

    async def path_news(self, *, first: bool) -> tuple[int, int, int]:
        self.asked.append(first)
        return await self.news.get()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_news_are_told_as_long_as_there_is_a_terminal() -> None:
    async def main() -> None:
        path, told = Path(), []
        host: Any = SimpleNamespace(send=told.append)
        reporter = PathReporter(path, host)  # type: ignore[arg-type]
        with reporter.for_terminal():
            with reporter.for_terminal():
                path.news.put_nowait((20000, 0, 10000))
                await settle()
            assert told == [PathState(20000, 0, 10000)]
            path.news.put_nowait((40000, 1, 10000))
            await settle()
            assert told[1:] == [PathState(40000, 1, 10000)]
            assert path.asked == [True, False, False]
        path.news.put_nowait((1, 2, 3))
        await settle()
        assert len(told) == 2
        with reporter.for_terminal():
            await settle()
            assert told[2:] == [PathState(1, 2, 3)]
            assert path.asked[3:] == [True, False]

    asyncio.run(main())


@pytest.mark.parametrize("error", [ChannelError("gone"), lost("timeout")])
def test_a_reporter_ends_with_its_listener(error: QshError) -> None:
    async def main() -> None:
        path = Path()

        def send(_: PathState) -> None:
            raise error

        host: Any = SimpleNamespace(send=send)
        reporter = PathReporter(path, host)  # type: ignore[arg-type]
        with reporter.for_terminal():
            path.news.put_nowait((1, 2, 3))
            await settle()
            task = reporter._task
            assert task is not None
            assert task.exception() is None
            assert path.asked == [True]

    asyncio.run(main())
