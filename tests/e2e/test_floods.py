"""qshd while many, or one that is quick, would take all of it: others are served meanwhile, and its memory is bounded.

How soon, and how much memory: bench/abuse.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qsh.wire import framing
from qsh.wire.messages import (
    Auth,
    AuthAccepted,
    AuthContinue,
    AuthRefused,
    Banner,
    ExitAck,
    Hello,
    KeyProofs,
    Listen,
    ProveKeys,
    Signal,
    Target,
    Unlisten,
    WindowChange,
)
from tests.e2e.test_hostile_network import echo, first_flight
from tests.support.forged import varint
from tests.support.forged_initial import crypto, hello_of, pieces
from tests.support.watched import (
    LIMIT_S,
    Watched,
    attempt,
    login,
    somebody_else,
    unharmed,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qsh.wire.messages import Message
    from tests.support.forged_initial import Hello as ClientHello
    from tests.support.raw_client import RawClient

SLOW = 10_000
"""Handshakes that are begun and go no further."""
SERVED = 3
"""Logins of others that must succeed while it lasts, at least."""
AT_ONCE = 50
"""Flights until qshd has read all of them: a flood is not to be dropped by the kernel."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Limits on connections are those that hold by default."""
    server = Watched(tmp_path_factory.mktemp("floods"), "QshExecMax 4\nLoginGraceTime 5\n")
    attempt(server, somebody_else)
    until(lambda: server.idle)
    yield server
    server.stop()


@pytest.fixture
def server(running: Watched) -> Iterator[Watched]:
    until(lambda: served(running))  # what the test before has left in the table
    with unharmed(running):
        yield running
        until(lambda: served(running))


@pytest.fixture(scope="module")
def hello(running: Watched) -> ClientHello:
    found = hello_of(asyncio.run(first_flight(running)))
    assert found is not None
    return found


def served(server: Watched) -> bool:
    try:
        attempt(server, somebody_else)
    except Exception:
        return False
    return True


def unread(port: int) -> int:
    """Bytes that wait in the socket of this UDP port."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            return int(fields[4].rpartition(":")[2], 16)
    return 0


class Flood:
    """Sends from as many addresses of loopback as ``sources``, until its datagrams are over and somebody was served."""

    def __init__(self, server: Watched, datagrams: Iterable[Iterable[bytes]], sources: int) -> None:
        self._server, self._flights = server, datagrams
        self._sockets = []
        for number in range(sources):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind((f"127.1.{number // 250}.{number % 250 + 1}", 0))
            udp.connect(("127.0.0.1", server.port))
            self._sockets.append(udp)
        self._thread = threading.Thread(target=self._run)
        self.flights = 0

    def _run(self) -> None:
        sockets = itertools.cycle(self._sockets)
        for flight in self._flights:
            udp = next(sockets)
            for datagram in flight:
                with contextlib.suppress(ConnectionRefusedError):
                    udp.send(datagram)
            self.flights += 1
            if self.flights % AT_ONCE == 0:
                until(lambda: not unread(self._server.port))

    def serves_others(self) -> int:
        """Logins of others that succeeded while it lasted. One that takes too long fails."""
        self._thread.start()
        count = 0
        while self._thread.is_alive() or count < SERVED:
            attempt(self._server, somebody_else)
            count += 1
        self._thread.join()
        for udp in self._sockets:
            udp.close()
        return count


# -- handshakes ----------------------------------------------------------------------------------


def test_ten_thousand_handshakes_that_go_no_further(server: Watched, hello: ClientHello) -> None:
    flood = Flood(server, (hello.flight() for _ in range(SLOW)), 200)
    assert flood.serves_others() >= SERVED
    assert flood.flights == SLOW


def test_half_a_hello_each(server: Watched, hello: ClientHello) -> None:
    flood = Flood(server, (hello.flight()[:1] for _ in range(SLOW)), 200)
    assert flood.serves_others() >= SERVED


def test_hellos_that_come_byte_by_byte(server: Watched, hello: ClientHello) -> None:
    """In turns: each has begun when the first goes on."""

    def drops() -> Iterator[list[bytes]]:
        begun = [(hello.begin(), iter(pieces(hello.data, 1))) for _ in range(100)]
        for _ in range(40):
            for initial, rest in begun:
                yield [initial.packet(next(rest))]

    assert Flood(server, drops(), 100).serves_others() >= SERVED


def test_hellos_with_gaps(server: Watched, hello: ClientHello) -> None:
    """Every other byte, from the end: nothing can be put together, all has to be kept."""

    def gapped() -> Iterator[list[bytes]]:
        for _ in range(20):
            initial = hello.begin()
            frames = [crypto(at, b"x") for at in range(15_000, 0, -2)]
            yield [initial.packet(*frames[at : at + 150]) for at in range(0, len(frames), 150)]

    assert Flood(server, gapped(), 20).serves_others() >= SERVED


def test_an_initial_that_is_the_same_again_and_again(server: Watched, hello: ClientHello) -> None:
    flight = hello.flight()
    assert Flood(server, (flight for _ in range(SLOW)), 1).serves_others() >= SERVED


# -- transport parameters ------------------------------------------------------------------------


def _send(server: Watched, flights: Iterable[list[bytes]]) -> None:
    for flight in flights:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(("127.0.0.1", server.port))
            for datagram in flight:
                with contextlib.suppress(ConnectionRefusedError):
                    udp.send(datagram)


def test_the_forger_of_hellos_is_believed(server: Watched, hello: ClientHello) -> None:
    """The control of all tests here: a hello that was taken apart and put together again is answered with a server's."""
    again = hello.with_parameters(hello.parameters)
    assert again == hello
    grown = hello.with_parameters(hello.parameters + varint(0x5F00) + varint(3) + b"abc")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", server.port))
        udp.settimeout(LIMIT_S)
        for datagram in grown.flight():
            udp.send(datagram)
        answers = b""
        while len(answers) < 1200:  # a refusal would be short
            answers += udp.recv(65536)


def test_transport_parameters_that_are_cut(server: Watched, hello: ClientHello) -> None:
    """RUSTSEC-2026-0037: one such packet ended the process."""
    found = hello.parameters
    _send(server, (hello.with_parameters(found[:size]).flight() for size in range(len(found))))
    until(lambda: served(server))


PARAMETERS = range(0x13)
LENGTHS = (0, 1, 2, 7, 8, 9, 16, 63, 64, 16383, 16384, 2**30, 2**62 - 1)


def test_transport_parameters_with_wrong_lengths(server: Watched, hello: ClientHello) -> None:
    found = hello.parameters
    _send(
        server,
        (
            hello.with_parameters(varint(kind) + varint(size) + body + found).flight()
            for kind in (*PARAMETERS, 0x20, 0x2AB2, 2**62 - 1)
            for size in LENGTHS
            for body in (b"", b"\xff" * min(size, 40))
        ),
    )
    until(lambda: served(server))


def test_transport_parameters_that_are_garbage(server: Watched, hello: ClientHello) -> None:
    source = random.Random(3)
    found = hello.parameters

    def garbage() -> Iterator[bytes]:
        for _ in range(300):
            data = bytearray(found)
            for _ in range(source.randrange(1, 4)):
                data[source.randrange(len(data))] = source.choice((0, 1, 0x3F, 0x40, 0x80, 0xFF))
            yield bytes(data)
            yield source.randbytes(source.randrange(60))
        yield bytes(4000)
        yield found * 20

    _send(server, (hello.with_parameters(data).flight() for data in garbage()))
    until(lambda: served(server))


# -- a connection's streams ----------------------------------------------------------------------


def stream(number: int, offset: int, data: bytes) -> bytes:
    """RFC 9000 19.8."""
    return b"\x0e" + varint(number) + varint(offset) + varint(len(data)) + data


def test_streams_with_gaps(server: Watched, tmp_path: Path) -> None:
    """RUSTSEC-2026-0185: every other byte of a window of 8 MB, so that nothing can be put together."""

    async def run() -> None:
        async with echo(server, tmp_path) as found:
            forger, memory = found.forger(), server.memory()
            frames = (stream(8, at, b"x") for at in itertools.count(1, 2))
            for _ in range(6000):
                found.relay.inject(forger.packet(*itertools.islice(frames, 120)))
            await asyncio.to_thread(attempt, server, somebody_else)
            assert server.memory() - memory < 64 << 20

    asyncio.run(run())


# -- messages ------------------------------------------------------------------------------------

SERVERS: tuple[Message, ...] = (
    AuthAccepted("1"),
    AuthContinue([0]),
    AuthRefused(["publickey"]),
    Banner("x"),
    KeyProofs([b"x"]),
)
"""What only a server says."""
LATER: tuple[Message, ...] = (
    WindowChange(0, 1, 1),
    Signal(0, "KILL"),
    ExitAck(0),
    ProveKeys(),
    Listen(0, Target("localhost", 0)),
    Unlisten(0),
)
"""What a client says when it is in."""


async def _before_hello(_: Watched, client: RawClient) -> None:
    client.wire._said_hello = True  # so that nothing goes before


async def _after_hello(_: Watched, client: RawClient) -> None:
    await client.say()


async def _while_judged(_: Watched, client: RawClient) -> None:
    await client.say(Auth("nobody-here", []))


async def _refused(server: Watched, client: RawClient) -> None:
    await _while_judged(server, client)
    while not isinstance(await client.hear(), AuthRefused):
        pass


@pytest.mark.parametrize("state", [_before_hello, _after_hello, _while_judged, _refused])
@pytest.mark.parametrize("message", [*SERVERS, *LATER], ids=lambda each: type(each).__name__)
def test_messages_in_the_wrong_state(
    running: Watched, message: Message, state: Callable[[Watched, RawClient], object]
) -> None:
    """Before the login is over each of them ends the connection, whatever it follows."""

    async def story(server: Watched, client: RawClient) -> None:
        await state(server, client)  # type: ignore[misc]
        await client.control.send.write(framing.encode(message))
        closed = await client.closed()
        assert (closed.kind, closed.code) == ("closed-by-peer", 2)

    attempt(running, story)


@pytest.mark.parametrize("message", SERVERS, ids=lambda each: type(each).__name__)
def test_messages_of_a_server_after_the_login(running: Watched, message: Message) -> None:
    async def story(server: Watched, client: RawClient) -> None:
        await login(server, client)
        await client.control.send.write(framing.encode(message))
        assert (await client.closed()).code == 2

    attempt(running, story)


def test_two_hellos(running: Watched) -> None:
    async def story(_: Watched, client: RawClient) -> None:
        await client.say()
        await client.control.send.write(framing.encode(Hello([1])))
        assert (await client.closed()).code == 2

    attempt(running, story)
