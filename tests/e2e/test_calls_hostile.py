"""Calls against a client that says what none of ours would, and programs that call without end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from qsh.channels.frames import read_frame
from qsh.server.client_calls import MAX_OPEN
from qsh.wire import framing
from qsh.wire.channel import OpenReader
from qsh.wire.messages import X11, Failed, Open, Opened
from tests.support.live_server import LiveServer
from tests.support.raw_client import RawClient, logged_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.quic import Stream

pytestmark = pytest.mark.tool("xauth")

LIMIT_S = 20.0
COOKIE = X11("MIT-MAGIC-COOKIE-1", b"c" * 16)
CALLER = """
import os, socket, sys
socks = []
for _ in range({count}):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(os.environ["SSH_AUTH_SOCK"])
    socks.append(sock)
print("called", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("qshd")
    server = LiveServer(home, f"X11Forwarding yes\nSetEnv XAUTHORITY={home}/xauthority")
    yield server
    server.stop()


async def output(stream: Stream, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = await asyncio.wait_for(stream.recv.read(), LIMIT_S)
        assert piece, data
        data += piece
    return data


async def called(client: RawClient) -> tuple[Stream, Open]:
    stream = await asyncio.wait_for(client.connection.accept_bi(), LIMIT_S)
    request, _ = await read_frame(stream.recv, OpenReader())
    return stream, request


async def works(client: RawClient) -> None:
    stream, answer = await client.asked(Open("exec", b"echo on"))
    assert answer == Opened(stderr=True)
    assert await output(stream, b"\n") == b"on\n"


@pytest.mark.parametrize(
    "x11",
    [
        {"protocol": "MIT-MAGIC-COOKIE-1\nadd :0 . 00", "cookie": b"c"},
        {"protocol": "", "cookie": b"c"},
        {"protocol": "a b", "cookie": b"c"},
        {"protocol": "x" * 65, "cookie": b"c"},
        {"protocol": "MIT", "cookie": b""},
        {"protocol": "MIT", "cookie": b"c" * 257},
        {"protocol": "MIT", "cookie": b"c", "screen": -1},
        {"protocol": "MIT", "cookie": b"c", "screen": 256},
        {"protocol": "MIT", "cookie": "text"},
        {"protocol": b"MIT", "cookie": b"c"},
        {},
    ],
)
def test_what_is_not_for_xauth_ends_the_connection(server: LiveServer, x11: object) -> None:
    """Nothing of it reaches a command of xauth(1) (CVE-2016-3115)."""
    payload = msgspec.msgpack.encode({"t": "open", "kind": "exec", "command": b"true", "x11": x11})

    async def run() -> None:
        async with logged_in(server) as client:
            stream = await client.connection.open_bi()
            await stream.send.write(len(payload).to_bytes(4, "big") + payload)
            closed = await asyncio.wait_for(client.closed(), LIMIT_S)
            assert (closed[1], closed[2].partition(":")[0]) == (2, "bad-message")

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["agent", "x11", "accepted"])
def test_calls_come_from_the_host_only(server: LiveServer, kind: str) -> None:
    async def run() -> None:
        async with logged_in(server) as client:
            _, answer = await client.asked(Open(kind, agent=True, x11=COOKIE))
            assert isinstance(answer, Failed)
            assert answer.code == "unknown-kind"
            await works(client)

    asyncio.run(run())


def test_programs_that_call_without_end(server: LiveServer) -> None:
    """A client that answers none of them: some wait, the others are turned away, and the connection goes on."""
    count = MAX_OPEN + 30
    code = CALLER.format(count=count).strip()

    async def run() -> None:
        async with logged_in(server) as client:
            command = f"python3 -S -c '{code}'".encode()
            stream, answer = await client.asked(Open("exec", command, agent=True))
            assert isinstance(answer, Opened)
            assert await output(stream, b"\n") == b"called\n"
            calls = [await called(client) for _ in range(MAX_OPEN)]
            assert {request.kind for _, request in calls} == {"agent"}
            await works(client)
            for call, _ in calls[:2]:
                await call.send.write(framing.encode(Failed("no")))
                call.send.finish()
            stream.send.finish()
            await works(client)

    asyncio.run(run())
    assert not [line for line in server.log if "Error" in line]


def test_answers_that_are_none(server: LiveServer) -> None:
    command = "while ! [ -e {0} ]; do ssh-add -l 2>/dev/null; echo $?; read x; done"
    done = server.home / "done"

    async def run() -> None:
        async with logged_in(server) as client:
            request = Open("exec", command.format(done).encode(), agent=True)
            stream, _ = await client.asked(request)
            for answer in (b"\0\0\0\1\xc1", b"\xff" * 64, framing.encode(Failed("no")), b""):
                call, request = await called(client)
                assert (request.kind, request.x11, request.origin) == ("agent", None, None)
                await call.send.write(answer)
                call.send.finish()
                # SIGPIPE where it was refused before it could ask
                assert await output(stream, b"\n") in (b"1\n", b"141\n")
                await stream.send.write(b"\n")
            call, _ = await called(client)
            done.touch()
            await call.send.write(framing.encode(Opened()) + b"\0\0\0\5\x0c\0\0\0\0")
            assert await output(stream, b"1\n") == b"The agent has no identities.\n1\n"
            await stream.send.write(b"\n")
            await works(client)

    asyncio.run(run())
    assert not [line for line in server.log if "Error" in line]


def test_displays_and_agents_of_one_login(server: LiveServer) -> None:
    """Each program has its own, as far as MaxSessions lets it."""

    async def run() -> None:
        async with logged_in(server) as client:
            command = b"echo $DISPLAY $SSH_AUTH_SOCK; read x"
            seen, streams = set(), []
            for _ in range(5):
                request = Open("exec", command, agent=True, x11=COOKIE)
                stream, _ = await client.asked(request)
                streams.append(stream)  # one that is dropped hangs its program up
                display, path = (await output(stream, b"\n")).split()
                assert display.startswith(b"localhost:")
                seen |= {display, path}
            assert len(seen) == 10

    asyncio.run(run())
