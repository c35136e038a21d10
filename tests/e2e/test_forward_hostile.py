"""Forwards against a client that says what none of ours would: it hurts itself, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.channels.frames import read_frame
from qsh.wire import framing
from qsh.wire.channel import OpenReader
from qsh.wire.messages import (
    Failed,
    Listen,
    Listening,
    Open,
    Opened,
    Target,
    Unlisten,
)
from tests.support.forwarding import free_tcp_port
from tests.support.live_server import LiveServer
from tests.support.raw_client import RawClient, logged_in

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 10.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


async def asked(client: RawClient, request: Open) -> Opened | Failed:
    stream, answer = await client.asked(request)
    stream.abort()
    return answer


async def listen(client: RawClient, number: int, target: Target) -> Listening:
    await client.say(Listen(number, target))
    answer = await asyncio.wait_for(client.hear(), LIMIT_S)
    assert isinstance(answer, Listening)
    return answer


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (None, "bad-channel"),
        (Target(), "connect-failed"),
        (Target("\0", 1), "connect-failed"),
        (Target("x" * 1024, 1), "connect-failed"),
        (Target(path=b"\0"), "connect-failed"),
        (Target("localhost", 1, b"/nonesuch"), "connect-failed"),
    ],
)
def test_odd_targets(server: LiveServer, target: Target | None, code: str) -> None:
    async def run() -> None:
        async with logged_in(server) as client:
            answer = await asked(client, Open("connect", target=target))
            assert isinstance(answer, Failed)
            assert answer.code == code
            assert isinstance(await asked(client, Open("exec", b"true")), Opened)

    asyncio.run(run())


def test_connections_that_are_given_up_at_once(server: LiveServer) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            port = listener.getsockname()[1]
            async with logged_in(server) as client:
                request = framing.encode(Open("connect", target=Target("127.0.0.1", port)))
                for _ in range(300):
                    stream = await client.connection.open_bi()
                    await stream.send.write(request)
                    stream.abort()
                assert isinstance(
                    await asked(client, Open("connect", target=Target("127.0.0.1", port))), Opened
                )

    asyncio.run(run())


def test_more_listeners_than_there_may_be(server: LiveServer) -> None:
    async def run() -> None:
        async with logged_in(server) as client:
            codes = [(await listen(client, n, Target("localhost"))).code for n in range(130)]
            assert codes == [""] * 128 + ["resources"] * 2
            assert (await listen(client, 5, Target("localhost"))).code == "bad-channel"
            await client.say(Unlisten(5), Unlisten(999))
            assert (await listen(client, 5, Target("localhost"))).code == ""
            assert (await listen(client, 6, Target("\0"))).code == "bad-channel"

    asyncio.run(run())


def test_answers_that_are_none(server: LiveServer) -> None:
    """To a stream that the server has opened: nonsense, a refusal, silence, the end."""

    async def run() -> None:
        async with logged_in(server) as client:
            port = (await listen(client, 7, Target("127.0.0.1", free_tcp_port()))).port
            for answer in (b"\0\0\0\1\xc1", b"\xff" * 64, framing.encode(Failed("no")), b""):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                stream = await client.connection.accept_bi()
                request, _ = await read_frame(stream.recv, OpenReader())
                assert (request.kind, request.listener) == ("accepted", 7)
                assert request.origin == Target(*writer.get_extra_info("sockname"))
                await stream.send.write(answer)
                stream.send.finish()
                reader = writer.transport.get_protocol()._stream_reader  # type: ignore[attr-defined]
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.wait_for(reader.read(), LIMIT_S) == b""
                writer.close()
            assert isinstance(await asked(client, Open("exec", b"true")), Opened)

    asyncio.run(run())
    assert not [line for line in server.log if "Error" in line]
