"""UDP flows against a peer that says what none of ours would: it hurts itself, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.channels.frames import read_frame
from qsh.clock import monotonic_s
from qsh.errors import QshError
from qsh.wire import flow, framing
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
from tests.support.datagrams import UdpTarget
from tests.support.live_server import LiveServer, free_port
from tests.support.raw_client import RawClient, logged_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.quic import Stream

LIMIT_S = 10.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()
    assert not [line for line in server.log if "Error" in line]


async def listen(client: RawClient, number: int, target: Target, *, udp: bool = True) -> Listening:
    await client.say(Listen(number, target, udp))
    answer = await asyncio.wait_for(client.hear(), LIMIT_S)
    assert isinstance(answer, Listening)
    return answer


async def works(client: RawClient) -> None:
    with UdpTarget() as target:
        stream, answer = await client.asked(Open("udp", target=Target("127.0.0.1", target.port)))
        assert isinstance(answer, Opened)
        await stream.send.write(b"\0\x04work")
        async with asyncio.timeout(LIMIT_S):
            while await client.connection.read_datagram() != flow.prefix(stream.id) + b"work":
                pass  # of flows before
        stream.abort()


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (None, "bad-channel"),
        (Target(), "bad-channel"),
        (Target("127.0.0.1", 0), "bad-channel"),
        (Target(path=b"/run/socket"), "bad-channel"),
        (Target("\0", 1), "connect-failed"),
        (Target("x" * 1024, 1), "connect-failed"),
        (Target("255.255.255.255", 1), "connect-failed"),
    ],
)
def test_odd_targets(server: LiveServer, target: Target | None, code: str) -> None:
    async def run() -> None:
        async with logged_in(server) as client:
            _, answer = await client.asked(Open("udp", target=target))
            assert isinstance(answer, Failed)
            assert answer.code == code
            await works(client)

    asyncio.run(run())


def test_numbers_of_no_flow(server: LiveServer) -> None:
    async def run() -> None:
        async with logged_in(server) as client:
            for data in (b"", b"\xff", b"\xc0\0", b"\x3cx", b"\x50\x08x", os.urandom(1000)):
                for _ in range(20):
                    client.connection.send_datagram(data)
            await works(client)

    asyncio.run(run())


def test_streams_that_end_in_the_middle(server: LiveServer) -> None:
    async def run() -> None:
        async with logged_in(server) as client:
            with UdpTarget() as target:
                for rest in (b"", b"\0", b"\0\x05ab", b"\xff\xff" + bytes(100), b"\0\0" * 1000):
                    request = Open("udp", target=Target("127.0.0.1", target.port))
                    stream, _ = await client.asked(request)
                    await stream.send.write(rest)
                    stream.send.finish()
                    with contextlib.suppress(QshError):
                        while await asyncio.wait_for(stream.recv.read(), LIMIT_S):
                            pass
            await works(client)

    asyncio.run(run())


def test_more_flows_than_there_may_be(server: LiveServer) -> None:
    async def run() -> None:
        async with logged_in(server) as client:
            with UdpTarget() as target:
                request = Open("udp", target=Target("127.0.0.1", target.port))
                streams = [await client.asked(request) for _ in range(512)]
                assert all(isinstance(answer, Opened) for _, answer in streams)
                stream, answer = await client.asked(request)
                assert isinstance(answer, Failed)
                assert answer.code == "resources"
                for stream, _ in streams:
                    stream.abort()
                async with asyncio.timeout(LIMIT_S):
                    while isinstance(answer, Failed):
                        _, answer = await client.asked(request)
            await works(client)

    asyncio.run(run())


def test_streams_that_nobody_reads(server: LiveServer) -> None:
    """What does not fit into their windows waits in bounded queues, and other flows go on."""

    async def run() -> None:
        async with logged_in(server) as client:
            with UdpTarget() as target:
                request = Open("udp", target=Target("127.0.0.1", target.port))
                largest = b"\xff\xe3" + bytes(
                    65507
                )  # more than a QUIC datagram holds, also on loopback
                for _ in range(40):
                    stream, answer = await client.asked(request)
                    assert isinstance(answer, Opened)
                    for _ in range(30):
                        await stream.send.write(largest)
                await works(client)
                await works(client)

    asyncio.run(run())


def test_listeners(server: LiveServer) -> None:
    async def run() -> None:
        async with logged_in(server) as client:
            port = (await listen(client, 5, Target("127.0.0.1", 0))).port
            assert (await listen(client, 5, Target("127.0.0.1", 0))).code == "bad-channel"
            assert (
                await listen(client, 5, Target("127.0.0.1", 0), udp=False)
            ).code == "bad-channel"
            assert (await listen(client, 6, Target("127.0.0.1", port))).code == "listen-failed"
            assert (await listen(client, 7, Target(path=b"/x"))).code == "bad-channel"
            assert (await listen(client, 8, Target("127.0.0.1", port), udp=False)).code == ""
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.connect(("127.0.0.1", port))
                sock.send(b"hello")
                stream = await asyncio.wait_for(client.connection.accept_bi(), LIMIT_S)
                request, _ = await read_frame(stream.recv, OpenReader())
                assert (request.kind, request.listener) == ("accepted", 5)
                assert request.origin == Target(*sock.getsockname())
                assert await stream.recv.read(7) == b"\0\x05hello"
            await client.say(Unlisten(5), Unlisten(999))
            async with asyncio.timeout(LIMIT_S):
                while (await listen(client, 5, Target("127.0.0.1", port))).port != port:
                    pass  # the engine closes the socket in its own time

    asyncio.run(run())


def test_answers_that_are_none(server: LiveServer) -> None:
    async def run() -> None:
        async with logged_in(server) as client:
            port = (await listen(client, 7, Target("127.0.0.1", free_port()))).port
            for answer in (b"\0\0\0\1\xc1", b"\xff" * 64, framing.encode(Failed("no")), b""):
                with socket.socket(type=socket.SOCK_DGRAM) as sock:
                    sock.sendto(b"hello", ("127.0.0.1", port))
                    stream = await asyncio.wait_for(client.connection.accept_bi(), LIMIT_S)
                    await read_frame(stream.recv, OpenReader())
                    await stream.send.write(answer)
                    stream.send.finish()
            await works(client)

    asyncio.run(run())


def test_a_flood_of_new_peers(server: LiveServer) -> None:
    """Streams for some, nothing for the rest; and the connection goes on."""

    async def run() -> None:
        async with logged_in(server) as client:
            port = (await listen(client, 9, Target("127.0.0.1", 0))).port
            for _ in range(3000):
                with socket.socket(type=socket.SOCK_DGRAM) as sock:
                    sock.sendto(b"x", ("127.0.0.1", port))
            await works(client)
            count = 0
            with contextlib.suppress(TimeoutError):
                while True:
                    await asyncio.wait_for(client.connection.accept_bi(), 0.5)
                    count += 1
            assert 0 < count < 3000
            await works(client)

    asyncio.run(run())


def test_listeners_that_are_given_up_at_once(server: LiveServer) -> None:
    """None of them stays: they would be more than there may be, and the front's for all."""

    async def run() -> None:
        async with logged_in(server) as client:
            ports = []
            for number in range(200):
                await client.say(Listen(number, Target("127.0.0.1", 0), True), Unlisten(number))
                answer = await asyncio.wait_for(client.hear(), LIMIT_S)
                assert isinstance(answer, Listening)
                assert answer.code == ""
                ports.append(answer.port)
            await asyncio.to_thread(until_free, ports)
            await works(client)

    asyncio.run(run())


def until_free(ports: list[int]) -> None:
    """The engine closes sockets in its own time."""
    deadline_s = monotonic_s() + LIMIT_S
    while ports:
        with socket.socket(type=socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", ports[-1]))
            ports.pop()
        assert monotonic_s() < deadline_s


def test_empty_datagrams_without_end(server: LiveServer) -> None:
    """Two bytes of a stream are one: they must leave the engine's thread to others."""

    async def run() -> None:
        async with logged_in(server) as client, logged_in(server) as other:
            with UdpTarget() as target:
                request = Open("udp", target=Target("127.0.0.1", target.port))
                streams = [(await client.asked(request))[0] for _ in range(4)]
                pouring = [asyncio.ensure_future(pour(stream)) for stream in streams]
                for _ in range(3):
                    await works(other)
                for each in pouring:
                    each.cancel()
                await asyncio.gather(*pouring, return_exceptions=True)
            await works(client)

    asyncio.run(run())


async def pour(stream: Stream) -> None:
    while True:
        await stream.send.write(bytes(1 << 18))
