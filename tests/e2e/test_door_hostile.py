"""A program of the user's that plays another session host: it hurts its user, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from qsh.clock import monotonic_s
from qsh.server.packets import PacketSocket
from qsh.server.requests import Call
from qsh.server.session_directory import Opened as TerminalOpened
from qsh.server.session_directory import PassCall, Question, SessionDirectory
from qsh.wire import framing
from qsh.wire.messages import Attach, Failed, Open, Opened, Pty
from tests.support.live_server import LiveServer
from tests.support.raw_client import RawClient, logged_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from qsh.quic import Stream

LIMIT_S = 10.0

Door = PacketSocket[Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()
    assert not [line for line in server.log if "Error" in line]


async def others_are_served(server: LiveServer) -> None:
    async with logged_in(server) as client:
        stream, answer = await client.asked(Open("exec", b"echo served"))
        assert isinstance(answer, Opened)
        assert await asyncio.wait_for(stream.recv.read(), LIMIT_S) == b"served\n"


@contextlib.asynccontextmanager
async def attached(
    server: LiveServer, play: Callable[[Door], None], *, agent: bool = False
) -> AsyncIterator[tuple[RawClient, Stream, object]]:
    """A client that attaches to what ``play`` says it is."""
    path = server.home / "sessions" / str(os.geteuid())
    name, listener = await asyncio.to_thread(SessionDirectory(str(path)).claim)
    listener.setblocking(True)

    doors: list[Door] = []

    def serve() -> None:
        sock, _ = listener.accept()
        door: Door = PacketSocket(sock, Question)
        doors.append(door)
        sock.setblocking(True)
        door.receive()
        play(door)

    player = threading.Thread(target=serve)
    player.start()
    try:
        async with logged_in(server) as client:
            request = Open(
                "attach", name.encode(), Pty("xterm", 24, 80), terminal=Attach(b"c" * 16)
            )
            yield client, *await client.asked(request if not agent else calling(request))
    finally:
        player.join(LIMIT_S)
        for door in doors:
            door.close()
        listener.close()
        (path / name).unlink()


def calling(request: Open) -> Open:
    return Open(request.kind, request.command, request.pty, terminal=request.terminal, agent=True)


def full_pipe() -> tuple[int, int]:
    """Its reading end, and a descriptor of both ends that blocks, with room for one page."""
    reader, writer = os.pipe()
    both = os.open(f"/proc/self/fd/{writer}", os.O_RDWR)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.read(reader, 4096)
    os.close(writer)
    return reader, both


def test_a_pipe_for_a_terminal(server: LiveServer) -> None:
    """O_NONBLOCK is the pipe's, and who made it may take it off: the front would wait in it, for everybody."""

    async def run() -> None:
        reader, both = full_pipe()

        def play(door: Door) -> None:
            door.send(TerminalOpened(), [os.dup(both), socketpair(socket.SOCK_SEQPACKET)[0]])

        async with attached(server, play) as (_, stream, answer):
            fcntl.fcntl(both, fcntl.F_SETFL, os.O_RDWR)
            if isinstance(answer, Opened):
                stream.send.put(bytes(1 << 18))
            await others_are_served(server)
            assert isinstance(answer, Failed)
            assert answer.code == "resources"
        os.close(reader)
        os.close(both)

    asyncio.run(run())


def test_a_socket_for_a_terminal_whose_close_waits(server: LiveServer) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def play(door: Door) -> None:
                sock = socket.create_connection(listener.getsockname())
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
                door.send(TerminalOpened(), [sock.detach(), socketpair(socket.SOCK_SEQPACKET)[0]])

            async with attached(server, play) as (_, _, answer):
                assert isinstance(answer, Failed)
                await others_are_served(server)

    asyncio.run(run())


def socketpair(kind: int = socket.SOCK_STREAM) -> tuple[int, int]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    return ours.detach(), theirs.detach()


def opens(door: Door) -> None:
    door.send(TerminalOpened(), [socketpair()[0], socketpair(socket.SOCK_SEQPACKET)[0]])


def test_a_caller_that_does_not_hear_the_refusal(server: LiveServer) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(b"x")
        ours.setblocking(True)

        def play(door: Door) -> None:
            opens(door)
            door.send(PassCall(Call("agent")), [os.dup(ours.fileno())])

        async with attached(server, play, agent=True) as (client, _, answer):
            assert isinstance(answer, Opened)
            call = await asyncio.wait_for(client.connection.accept_bi(), LIMIT_S)
            await call.send.write(framing.encode(Failed("not-permitted")))
            call.send.finish()
            await others_are_served(server)
        ours.close()
        theirs.close()

    asyncio.run(run())


@pytest.mark.parametrize("agent", [False, True])
def test_calls_without_end(server: LiveServer, agent: bool) -> None:
    """No more than there may be; none that the client does not take, or its login may not have."""

    async def run() -> None:
        ends: list[int] = []

        def play(door: Door) -> None:
            opens(door)
            for _ in range(400):
                near, far = socketpair()
                ends.append(far)
                door.send(PassCall(Call("agent")), [near])
            for descriptor in (os.open("/dev/null", os.O_PATH), os.open("/dev/zero", os.O_RDONLY)):
                door.send(PassCall(Call("agent")), [descriptor])
            door.send(PassCall(Call("x11")), [socketpair()[0]])

        async with attached(server, play, agent=agent) as (_, _, answer):
            assert isinstance(answer, Opened)
            await others_are_served(server)
            served = 128 if agent else 0
            await asyncio.to_thread(until_closed, ends, len(ends) - served)
        for end in ends:
            os.close(end)

    asyncio.run(run())


def until_closed(ends: list[int], count: int) -> None:
    """So many have been hung up on."""
    watched = [socket.socket(fileno=os.dup(end)) for end in ends]
    for sock in watched:
        sock.setblocking(False)
    deadline_s = monotonic_s() + LIMIT_S
    while (ended := sum(has_ended(sock) for sock in watched)) < count:
        assert monotonic_s() < deadline_s
    assert ended == count
    for sock in watched:
        sock.close()


def has_ended(sock: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        return not sock.recv(1, socket.MSG_PEEK)
    return False
