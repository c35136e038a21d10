"""What a client may ask the front to listen for, and what it costs the front."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from qsh.quic import Driver
from qsh.server.listeners import MAX_LISTENERS
from qsh.server.remote_forwards import MAX_UNREAD, RemoteForwards
from qsh.server.requests import ListenOn, ListensOn, StopListening
from qsh.wire.messages import Listen, Listening, Target, Unlisten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.server.requests import Local

TARGET = Target("127.0.0.1", 0)


class Host:
    """A session host that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Local] = []
        self.listening: Any = None
        self.flows = 0

    def send(self, message: Local) -> None:
        self.asked.append(message)

    def answers(self, number: int, *sockets: socket.socket, code: str = "") -> None:
        self.listening(ListensOn(number, 7, code), [sock.detach() for sock in sockets])


class Front:
    """A connection's remote forwards, and the client that reads their answers or does not."""

    def __init__(self, driver: Driver | None = None) -> None:
        self.host = Host()
        self.answers: list[Listening] = []
        self.writes: list[asyncio.Future[None]] = []
        self.reads = True
        self.driver = driver
        self.remote = RemoteForwards(
            self,  # type: ignore[arg-type]
            self.host,  # type: ignore[arg-type]
            contextlib.nullcontext,
            self._write,
            lambda work: work.close(),
        )

    def _write(self, answer: Listening) -> asyncio.Future[None]:
        self.answers.append(answer)
        written = asyncio.get_running_loop().create_future()
        self.writes.append(written)
        if self.reads:
            written.set_result(None)
        return written


def udp_socket() -> socket.socket:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def until_closed(inode: int) -> None:
    """The engine closes it in its own time."""
    while any(link == f"socket:[{inode}]" for link in links()):
        pass


def links() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/self/fd/{name}")


def test_what_the_client_gives_up_before_the_answer_does_not_stay() -> None:
    async def run() -> None:
        async with Driver() as driver:
            front = Front(driver)
            await front.remote.request(Listen(1, TARGET, udp=True))
            await front.remote.request(Unlisten(1))
            sock = udp_socket()
            inode = os.fstat(sock.fileno()).st_ino
            front.host.answers(1, sock)
            assert front.answers == [Listening(1, 7)]
            assert front.host.asked == [ListenOn(1, TARGET, udp=True), StopListening(1)]
            await asyncio.to_thread(until_closed, inode)

    asyncio.run(run())


def test_a_number_is_free_again() -> None:
    """Also for something of the other kind."""

    async def run() -> None:
        async with Driver() as driver:
            front = Front(driver)
            await front.remote.request(Listen(1, TARGET, udp=True))
            front.host.answers(1, udp_socket())
            await front.remote.request(Listen(1, TARGET))
            assert front.answers.pop().code == "bad-channel"
            await front.remote.request(Unlisten(1))
            await front.remote.request(Listen(1, TARGET))
            front.host.answers(1)
            assert front.answers == [Listening(1, 7), Listening(1, 7)]

    asyncio.run(run())


def test_so_many_may_be_asked_for_at_a_time() -> None:
    async def run() -> None:
        front = Front()
        for number in range(MAX_LISTENERS + 1):
            await front.remote.request(Listen(number, TARGET))
        await front.remote.request(Listen(0, TARGET))
        assert len(front.host.asked) == MAX_LISTENERS
        assert [answer.code for answer in front.answers] == ["resources", "bad-channel"]
        front.host.answers(0, code="listen-failed")
        await front.remote.request(Listen(MAX_LISTENERS, TARGET))
        assert len(front.host.asked) == MAX_LISTENERS + 1

    asyncio.run(run())


def test_who_does_not_read_the_answers_is_not_heard_any_more() -> None:
    async def run() -> None:
        front = Front()
        front.reads = False
        await front.remote.request(Listen(1, TARGET))
        for _ in range(MAX_UNREAD - 1):
            await front.remote.request(Listen(1, TARGET))
        last = asyncio.ensure_future(front.remote.request(Listen(1, TARGET)))
        await asyncio.sleep(0)
        assert not last.done()
        front.writes[0].set_result(None)
        await last

    asyncio.run(run())


@pytest.mark.parametrize("number", [1, 2])
def test_sockets_that_did_not_come(number: int) -> None:
    async def run() -> None:
        front = Front()
        await front.remote.request(Listen(number, TARGET, udp=True))
        front.host.answers(number)
        assert front.answers[0].code == "resources"
        assert front.host.asked[-1] == StopListening(number)

    asyncio.run(run())


def test_answers_that_nobody_has_asked_for() -> None:
    async def run() -> None:
        front = Front()
        front.host.answers(1)
        await front.remote.request(Listen(1, TARGET))
        front.host.answers(1)
        front.host.answers(1)
        assert len(front.answers) == 1

    asyncio.run(run())
