"""qshd on a network that lies: packets replayed, forged, copied with another sender, and a client that abuses QUIC itself.

What is sealed with a client's keys is made by tests.support.forged: so a peer may send every frame there is. Before and after
each test the same front, bounded, with nothing left over, and somebody else is let in (tests/support/watched.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.quic import Driver, client_endpoint, client_socket
from qsh.wire.messages import Open, Opened
from tests.support.forged import (
    ID_BYTES,
    Forger,
    new_connection_id,
    path_challenge,
    retire_connection_id,
)
from tests.support.raw_client import raw_client
from tests.support.relay import Relay
from tests.support.watched import (
    LIMIT_S,
    Watched,
    attempt,
    login,
    somebody_else,
    start,
    unharmed,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from qsh.quic import Stream
    from tests.support.raw_client import RawClient

STRANGERS = ("127.0.0.5", "127.0.0.6")
DENIED = "127.0.0.3"
FLOOD = 10_000
LINES = 16
"""In the log, of a whole attack: logins and their ends, and one for what is wrong."""
GROWTH = 16 << 20
"""Bytes by which a front may grow under an attack."""
THREE = 3
"""RFC 9000 8.1."""
MIN_INITIAL = 1200
"""Of a PATH_CHALLENGE, too (RFC 9000 8.2.1)."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("network")
    extra = "MaxStartups 100\nQshRetryThreshold 100\nLogLevel VERBOSE\nQshExecMax 4"
    server = Watched(folder, extra)
    server.extra += f"\nDenyUsers {server.user}@{DENIED}"
    server.kill()
    server.start()
    attempt(server, somebody_else)
    until(lambda: server.idle)
    yield server
    server.stop()


@pytest.fixture
def server(running: Watched) -> Iterator[Watched]:
    lines = len(running.log)
    with unharmed(running):
        yield running
    told = [line for line in running.log[lines:] if "publickey" not in line]
    assert len(told) < LINES, told


class Echo:
    """A ``cat`` behind a relay."""

    def __init__(self, server: Watched, relay: Relay, client: RawClient, key_log: Path) -> None:
        self.server, self.relay, self.client, self._key_log = server, relay, client, key_log
        self.stream: Stream
        self._said = 0

    async def start(self) -> None:
        await login(self.server, self.client)
        _, answer, (rest, self.stream) = await start(self.client, Open("exec", b"cat"))
        assert isinstance(answer, Opened)
        assert rest == b""

    async def say(self) -> None:
        """Without waiting for the answer."""
        self._said += 1
        await self.stream.send.write(b"line %d\n" % self._said)

    async def hear(self) -> None:
        """All that was said, once."""
        await self.say()
        wanted = b"".join(b"line %d\n" % number for number in range(1, self._said + 1))
        heard = b""
        while len(heard) < len(wanted):
            data = await self.stream.recv.read()
            assert data
            heard += data
        assert heard == wanted
        self._said = 0

    def forger(self) -> Forger:
        """Be this client from now on; the real one is cut off."""
        self.relay.cut = True
        short = [packet for packet in self.relay.sent if not packet[0] & 0x80]
        return Forger(self._key_log, short[-1][1 : 1 + ID_BYTES])


@contextlib.asynccontextmanager
async def echo(server: Watched, folder: Path) -> AsyncIterator[Echo]:
    with Relay(server.port) as relay:
        relay.keep()
        log = folder / "keys"
        async with asyncio.timeout(3 * LIMIT_S):
            async with raw_client(relay.port, server.host_key, key_log=str(log)) as client:
                found = Echo(server, relay, client, log)
                await found.start()
                await found.hear()
                yield found


@contextlib.asynccontextmanager
async def stranger(server: Watched, folder: Path) -> AsyncIterator[Echo]:
    """Somebody who has shaken hands and does not log in."""
    with Relay(server.port) as relay:
        relay.keep()
        log = folder / "keys"
        async with asyncio.timeout(3 * LIMIT_S):
            async with raw_client(relay.port, server.host_key, key_log=str(log)) as client:
                await asyncio.to_thread(
                    until, lambda: any(not each[0] & 0x80 for each in relay.sent)
                )
                yield Echo(server, relay, client, log)


def mutated(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(source.randrange(1, 4)):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


# -- packets of others ---------------------------------------------------------------------------


@pytest.mark.parametrize("forged", [False, True], ids=["replayed", "forged"])
def test_packets_of_a_connection_sent_again(server: Watched, tmp_path: Path, forged: bool) -> None:
    """From where they came from and from elsewhere: nothing is done twice, and nobody moves."""
    source = random.Random(3)

    async def run() -> None:
        async with echo(server, tmp_path) as found:
            memory = server.memory()
            for address in STRANGERS:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    stranger.bind((address, 0))
                    kept = list(found.relay.sent)
                    for number in range(FLOOD):
                        data = kept[number % len(kept)]
                        data = mutated(data, source) if forged else data
                        stranger.sendto(data, ("127.0.0.1", server.port))
                        found.relay.inject(data)
                    await found.hear()
            assert server.memory() - memory < GROWTH

    asyncio.run(run())
    assert not server.lines("moved to")


def test_garbage_for_a_connection(server: Watched, tmp_path: Path) -> None:
    """With the right connection id and nothing else right."""
    source = random.Random(5)

    async def run() -> None:
        async with echo(server, tmp_path) as found:
            name = found.relay.sent[-1][: 1 + ID_BYTES]
            memory = server.memory()
            for number in range(FLOOD):
                found.relay.inject(name + source.randbytes(number % 1400))
            await found.hear()
            assert server.memory() - memory < GROWTH

    asyncio.run(run())


class Racing(Relay):
    """A copy of each packet of the client's comes first, with another sender, as long as :attr:`address` says which."""

    address = ""

    def _send(self, sock: socket.socket, to: tuple[str, int], data: bytes) -> None:
        if self.address and to == self._server:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
                forger.bind((self.address, 0))
                forger.sendto(data, to)
        super()._send(sock, to, data)


def test_an_address_that_is_not_proven_is_left_again(server: Watched, tmp_path: Path) -> None:
    """The copies look as if the client were where it must not be: that costs it nothing."""

    async def run() -> None:
        with Racing(server.port) as relay:
            async with asyncio.timeout(3 * LIMIT_S):
                async with raw_client(relay.port, server.host_key) as client:
                    found = Echo(server, relay, client, tmp_path / "none")
                    await found.start()
                    await found.hear()
                    for _ in range(5):
                        relay.address = DENIED
                        for _ in range(3):
                            await found.say()
                        await asyncio.sleep(0)
                        relay.address = ""
                        await found.hear()

    asyncio.run(run())
    assert not server.lines("Refused")


# -- a client that abuses QUIC -------------------------------------------------------------------


def test_a_flood_of_path_challenges(server: Watched, tmp_path: Path) -> None:
    async def run() -> None:
        async with echo(server, tmp_path) as found:
            forger, memory = found.forger(), server.memory()
            before, size = len(found.relay.got), 0
            for number in range(FLOOD):
                packet = forger.packet(path_challenge(number.to_bytes(8, "big")))
                found.relay.inject(packet)
                size += len(packet)
            await asyncio.to_thread(attempt, server, somebody_else)
            answers = found.relay.got[before:]
            assert len(answers) > 1, "the packets were taken for the client's"
            assert sum(map(len, answers)) < THREE * size
            assert server.memory() - memory < GROWTH

    asyncio.run(run())


def test_connection_ids_retired_without_end(server: Watched, tmp_path: Path) -> None:
    """Each is replaced, and each replacement is held until it is acknowledged, which it never is."""
    told = "connection ids without end"

    async def run(number: int, pause_s: float) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        async with echo(server, folder) as found:
            forger, memory, sequence = found.forger(), server.memory(), 0
            before = len(server.lines("Disconnected"))
            while len(server.lines("Disconnected")) == before:
                sequence += 1
                found.relay.inject(forger.packet(retire_connection_id(sequence)))
                await asyncio.sleep(pause_s)
            assert server.memory() - memory < GROWTH

    # what is retired before it is made ends a connection, too; so whoever wants the worst must not be faster than the server
    for number, pause_s in enumerate((0.0005, 0.002, 0.008)):
        if not server.lines(told):
            asyncio.run(run(number, pause_s))
    assert len(server.lines(told)) == 1


@pytest.mark.parametrize("step", [1, 1000])
def test_new_connection_ids_without_end(server: Watched, tmp_path: Path, step: int) -> None:
    """Each tells the server to give up all before it."""

    async def run() -> None:
        async with echo(server, tmp_path) as found:
            forger, memory = found.forger(), server.memory()
            for number in range(100, 100 + FLOOD):
                prior = number * step
                frame = new_connection_id(prior, prior, number.to_bytes(8, "big"))
                found.relay.inject(forger.packet(frame))
            await asyncio.to_thread(attempt, server, somebody_else)
            assert server.memory() - memory < GROWTH

    asyncio.run(run())


# -- amplification -------------------------------------------------------------------------------


async def first_flight(server: Watched) -> list[bytes]:
    """What a client begins with: a key share of more than a kilobyte (X25519MLKEM768), in two datagrams."""
    async with Driver() as driver:
        with Relay(server.port) as relay:
            relay.cut = True
            relay.keep()
            with client_socket("127.0.0.1") as udp:
                endpoint = client_endpoint(driver, udp)
            connecting = asyncio.ensure_future(
                endpoint.connect(
                    "127.0.0.1",
                    relay.port,
                    server_name="localhost",
                    schemes=[0x0807],
                    trusted=[server.host_key.spki()],
                    timeout_s=5,
                )
            )
            await asyncio.to_thread(until, lambda: len(relay.sent) >= 2)
            connecting.cancel()
            endpoint.close()
            return relay.sent[:2]


def answers_to(server: Watched, flight: list[bytes], quiet_s: float = 1.5) -> list[int]:
    """Sizes of what comes back to somebody who never says more."""
    sizes = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", server.port))
        for datagram in flight:
            udp.send(datagram)
        while select.select([udp], [], [], quiet_s)[0]:
            sizes.append(len(udp.recv(65536)))
    return sizes


def test_a_handshake_stays_within_three_times_what_came(server: Watched) -> None:
    """Its retransmissions included, until the server says no more."""
    flight = asyncio.run(first_flight(server))
    sent = sum(map(len, flight))
    assert sent > 2000
    sizes = answers_to(server, flight)
    assert sum(sizes) > 1000, "the control: it is answered"
    assert sum(sizes) <= THREE * sent


def test_a_handshake_that_is_sent_twice(server: Watched) -> None:
    """It is answered twice (docs/protocol.md 17.14), within the same limit."""
    flight = asyncio.run(first_flight(server))
    sizes = answers_to(server, flight + flight)
    assert len(sizes) > len(set(sizes)), "the control: copies"
    assert sum(sizes) <= THREE * 2 * sum(map(len, flight))


def test_an_answer_that_is_forged_changes_nothing(server: Watched) -> None:
    """Whoever does not receive knows no connection id of the server's."""
    flight = asyncio.run(first_flight(server))
    forged = [first + os.urandom(60) for first in (b"\x40", b"\xe0\0\0\0\1\x08")]
    sizes = answers_to(server, [*flight, *forged])
    assert sum(sizes) > 1000, "the control: it is answered"
    assert sum(sizes) <= THREE * sum(map(len, [*flight, *forged]))


def _probe(number: int) -> bytes:
    return path_challenge(number.to_bytes(8, "big"))


def _ping(number: int) -> bytes:
    """Which moves the connection."""
    return b"\x01" + bytes(4 + number % 2)


def as_somebody_else(
    server: Watched,
    folder: Path,
    victims: tuple[str, ...],
    frame: Callable[[int], bytes],
    logs_in: bool = True,
) -> tuple[int, int]:
    """Send a lot with these addresses in turn for the sender. Bytes sent, and what came there."""
    sent = got = 0

    async def run() -> None:
        nonlocal sent
        async with echo(server, folder) if logs_in else stranger(server, folder) as found:
            forger = found.forger()
            for number in range(1000):
                packet = forger.packet(frame(number))
                sockets[number % len(sockets)].sendto(packet, ("127.0.0.1", server.port))
                sent += len(packet)
                await asyncio.sleep(0.002)

    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in victims
        ]
        for sock, address in zip(sockets, victims, strict=True):
            sock.bind((address, 0))
        asyncio.run(run())
        while ready := select.select(sockets, [], [], 1.5)[0]:
            got += sum(len(sock.recv(65536)) for sock in ready)
    return sent, got


@pytest.mark.parametrize(
    ("victims", "frame"),
    [
        (("127.0.1.1",), _probe),
        (("127.0.1.2",), _ping),
        (("127.0.1.3", "127.0.1.4"), _ping),
        (("127.0.1.5", "127.0.1.6"), _probe),
    ],
)
@pytest.mark.parametrize("logs_in", [True, False], ids=["a user", "nobody"])
def test_a_client_that_says_it_is_somebody_else(
    server: Watched,
    tmp_path: Path,
    victims: tuple[str, ...],
    frame: Callable[[int], bytes],
    logs_in: bool,
) -> None:
    """It has shaken hands, and is believed; but not where it is. Whoever is there gets no more than three times what came."""
    victims = tuple(address.replace(".1.", f".{2 + logs_in}.") for address in victims)
    sent, got = as_somebody_else(server, tmp_path, victims, frame, logs_in)
    assert got >= MIN_INITIAL, "the control: it is answered"
    assert got <= THREE * sent + MIN_INITIAL * len(victims), "one question each for proof"
    assert not [line for line in server.log if "moved" in line and victims[0] in line]


def test_that_is_told_once(server: Watched, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        as_somebody_else(server, tmp_path / name, ("127.0.1.7", "127.0.1.8"), _ping)
        until(lambda: server.lines("packets kept back"))
    assert len(server.lines("packets kept back")) == 1


def test_half_a_first_flight(server: Watched) -> None:
    flight = asyncio.run(first_flight(server))
    for datagram in flight:
        assert sum(answers_to(server, [datagram])) <= THREE * len(datagram)


@pytest.mark.parametrize(
    ("name", "datagram"),
    [
        ("a short Initial", b"\xc0\0\0\0\1\x08" + bytes(8) + b"\0\0\x44\x00" + bytes(600)),
        ("another version", b"\xc0\x1a\x2a\x3a\x4a\x08" + bytes(8) + b"\x08" + bytes(1183)),
        ("a short packet of another version", b"\xc0\x1a\x2a\x3a\x4a\x08" + bytes(8) + b"\x08" + bytes(83)),
        ("of no connection", b"\x40" + os.urandom(200)),
        ("of no connection, and tiny", b"\x40" + os.urandom(20)),
        ("noise", os.urandom(1200)),
    ],
)  # fmt: skip
def test_what_begins_nothing_is_answered_with_less(
    server: Watched, name: str, datagram: bytes
) -> None:
    del name
    assert sum(answers_to(server, [datagram], 0.3)) < len(datagram)


# -- the control ---------------------------------------------------------------------------------


def test_a_front_that_holds_something_is_seen_to(server: Watched, tmp_path: Path) -> None:
    """What a program does not read waits in the front: its memory shows it."""

    async def run() -> None:
        async with echo(server, tmp_path) as found:
            memory = server.memory()
            _, answer, (_, stream) = await start(found.client, Open("exec", b"sleep 60"))
            assert isinstance(answer, Opened)
            writing = asyncio.ensure_future(stream.send.write(bytes(24 << 20)))
            await asyncio.to_thread(until, lambda: server.memory() - memory > 4 << 20)
            writing.cancel()

    asyncio.run(run())
