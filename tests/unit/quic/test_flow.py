"""Flows: datagrams of a connection spliced with datagram sockets, and every way to lose one or to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from qsh.errors import ConnectionLost

from .engine import Pair, engine_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from qsh.quic import Connection

KINDS = [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET]
FLOW = 4


def prefix(number: int) -> bytes:
    """RFC 9000 16."""
    for size, mark, limit in ((1, 0, 1 << 6), (2, 1, 1 << 14), (4, 2, 1 << 30)):
        if number < limit:
            return (number | mark << (8 * size - 2)).to_bytes(size, "big")
    return (number | 3 << 62).to_bytes(8, "big")


class Far:
    """The test's side of a socket pair whose other side is given to the engine."""

    def __init__(self, kind: int) -> None:
        self.sock, self.given = socket.socketpair(socket.AF_UNIX, kind)
        self.sock.setblocking(False)

    def splice(self, connection: Connection, flow: int = FLOW) -> asyncio.Future[None]:
        return connection.splice_flow(flow, self.given.detach())

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, 70000)

    def waiting(self) -> list[bytes]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.sock.recv(70000))
        return found

    def close(self) -> None:
        self.sock.close()
        self.given.close()


class Both:
    """A connection; flow 4 spliced on its server."""

    def __init__(self, pair: Pair, client: Connection, server: Connection, far: Far) -> None:
        self.pair, self.client, self.server, self.far = pair, client, server, far
        self.ended = far.splice(server)

    def drops_in(self) -> int:
        return self.server.flow_drops[0]


@contextlib.asynccontextmanager
async def connected(kind: int = socket.SOCK_DGRAM) -> AsyncIterator[Both]:
    async with engine_pair() as pair:
        client, server = await pair.connect()
        far = Far(kind)
        try:
            yield Both(pair, client, server, far)
        finally:
            far.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flow", [0, 63, 64, 16383, 16384, 1 << 30, (1 << 62) - 1])
def test_both_ways_and_the_number_on_the_wire(kind: int, flow: int) -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            far = Far(kind)
            far.splice(server, flow)
            client.send_datagram(prefix(flow) + b"typed")
            assert await far.receive() == b"typed"
            await far.send(b"shown")
            assert await client.read_datagram() == prefix(flow) + b"shown"
            far.close()

    asyncio.run(main())


def test_thousands_in_order_between_two_spliced_ends() -> None:
    async def main() -> None:
        async with connected() as both:
            near = Far(socket.SOCK_DGRAM)
            near.splice(both.client)
            count, together = 4000, 4  # fewer than a socket's queue holds

            async def feed(source: Far, sink: Far) -> None:
                for start in range(0, count, together):
                    batch = [n.to_bytes(4, "big") for n in range(start, start + together)]
                    for data in batch:
                        await source.send(data)
                    assert [await sink.receive() for _ in batch] == batch

            await asyncio.gather(feed(near, both.far), feed(both.far, near))
            assert both.server.flow_drops == both.client.flow_drops == (0, 0)
            near.close()

    asyncio.run(main())


def test_flows_are_told_apart() -> None:
    async def main() -> None:
        async with connected() as both:
            other = Far(socket.SOCK_SEQPACKET)
            other.splice(both.server, 8)
            both.client.send_datagram(prefix(8) + b"eight")
            both.client.send_datagram(prefix(4) + b"four")
            assert await both.far.receive() == b"four"
            assert await other.receive() == b"eight"
            assert both.far.waiting() == other.waiting() == []
            other.close()

    asyncio.run(main())


def test_what_belongs_to_no_flow_is_dropped_and_counted() -> None:
    async def main() -> None:
        async with connected() as both:
            for data in (b"", b"\xc0\x01", prefix(8) + b"unknown", prefix(FLOW) + b"known"):
                both.client.send_datagram(data)
            assert await both.far.receive() == b"known"
            assert both.far.waiting() == []
            assert both.server.flow_drops == (3, 0)

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_socket_costs_datagrams_and_nothing_else(kind: int) -> None:
    async def main() -> None:
        async with connected(kind) as both:
            sent, first = 0, b""
            for drops in (10, 20):
                while both.drops_in() < drops:
                    both.client.send_datagram(prefix(FLOW) + sent.to_bytes(4, "big") + bytes(1000))
                    sent += 1
                    await asyncio.sleep(0)
                first = first or both.far.sock.recv(4, socket.MSG_PEEK)
            received = [data[:4] for data in both.far.waiting()]
            assert received[0] == first  # what came too late went, not what was there
            numbers = [int.from_bytes(data, "big") for data in received]
            assert numbers == sorted(set(numbers))
            assert len(numbers) < sent
            while True:  # the rest of them may still be on their way
                both.client.send_datagram(prefix(FLOW) + b"after")
                if b"after" in [await both.far.receive(), *both.far.waiting()]:
                    break
            assert not both.ended.done()

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_too_large_for_the_path_is_dropped_and_counted(kind: int) -> None:
    async def main() -> None:
        async with connected(kind) as both:
            await both.far.send(bytes(66000))
            await both.far.send(b"small")
            assert await both.client.read_datagram() == prefix(FLOW) + b"small"
            assert both.server.flow_drops == (0, 1)

    asyncio.run(main())


def test_the_largest_that_fits_is_sent_whole() -> None:
    async def main() -> None:
        async with connected() as both:
            size = both.server.max_datagram_size
            assert size is not None
            await both.far.send(bytes(size - 1))
            assert await both.client.read_datagram() == prefix(FLOW) + bytes(size - 1)

    asyncio.run(main())


def test_an_empty_datagram_is_one() -> None:
    async def main() -> None:
        async with connected() as both:
            both.client.send_datagram(prefix(FLOW))
            assert await both.far.receive() == b""
            both.far.sock.send(b"")
            assert await both.client.read_datagram() == prefix(FLOW)
            assert not both.ended.done()

    asyncio.run(main())


def test_an_empty_packet_does_not_look_like_the_end() -> None:
    async def main() -> None:
        async with connected(socket.SOCK_SEQPACKET) as both:
            both.client.send_datagram(prefix(FLOW))
            both.client.send_datagram(prefix(FLOW) + b"next")
            assert await both.far.receive() == b"next"
            assert both.server.flow_drops == (1, 0)

    asyncio.run(main())


def test_a_packet_socket_ends_its_flow_behind_what_was_written() -> None:
    async def main() -> None:
        async with connected(socket.SOCK_SEQPACKET) as both:
            await both.far.send(b"last")
            both.far.sock.close()
            assert await both.client.read_datagram() == prefix(FLOW) + b"last"
            assert await both.ended is None

    asyncio.run(main())


def test_a_packet_socket_closed_with_unread_data_ends_its_flow() -> None:
    async def main() -> None:
        async with connected(socket.SOCK_SEQPACKET) as both:
            both.client.send_datagram(prefix(FLOW) + b"unread")
            arrived = asyncio.Event()
            asyncio.get_running_loop().add_reader(both.far.sock, arrived.set)
            await arrived.wait()
            asyncio.get_running_loop().remove_reader(both.far.sock)
            both.far.sock.close()
            assert await both.ended is None

    asyncio.run(main())


def test_a_datagram_socket_ends_its_flow_when_it_is_written_to() -> None:
    async def main() -> None:
        async with connected() as both:
            both.far.sock.close()
            both.client.send_datagram(prefix(FLOW) + b"to nobody")
            assert await both.ended is None
            assert both.drops_in() == 1

    asyncio.run(main())


def test_a_socket_shut_down_by_its_giver_does_not_spin() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            _client, server = await pair.connect()
            far = Far(socket.SOCK_DGRAM)
            shared = socket.socket(fileno=os.dup(far.given.fileno()))
            ended = far.splice(server)
            shared.shutdown(socket.SHUT_RD)
            assert await ended is None
            shared.close()
            far.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_end_flow_closes_the_socket_and_frees_the_number(kind: int) -> None:
    async def main() -> None:
        async with connected(kind) as both:
            both.server.end_flow(FLOW + 1)
            both.server.end_flow(FLOW)
            assert await both.ended is None
            with pytest.raises(OSError):  # noqa: PT011 - which one depends on the kind
                both.far.sock.send(b"nobody there")
            again = Far(kind)
            again.splice(both.server)
            both.client.send_datagram(prefix(FLOW) + b"again")
            assert await again.receive() == b"again"
            again.close()

    asyncio.run(main())


@pytest.mark.parametrize("ours", [True, False], ids=["closed here", "closed by the peer"])
def test_flows_end_with_their_connection(ours: bool) -> None:
    async def main() -> None:
        async with connected(socket.SOCK_SEQPACKET) as both:
            (both.server if ours else both.client).close()
            assert await both.ended is None
            assert await both.far.receive() == b""
            late = Far(socket.SOCK_SEQPACKET)
            assert await late.splice(both.server, 8) is None
            late.close()

    asyncio.run(main())


def test_python_gets_what_is_no_flows() -> None:
    async def main() -> None:
        async with connected() as both:
            waiting = asyncio.ensure_future(both.server.read_datagram())
            both.client.send_datagram(prefix(FLOW) + b"spliced")
            assert await both.far.receive() == b"spliced"
            both.client.send_datagram(prefix(8) + b"left")
            assert await waiting == prefix(8) + b"left"
            late = Far(socket.SOCK_DGRAM)
            late.splice(both.server, 8)
            both.client.send_datagram(prefix(8) + b"spliced, too")
            assert await late.receive() == b"spliced, too"
            late.close()

    asyncio.run(main())


def test_what_nobody_reads_is_bounded() -> None:
    async def main() -> None:
        async with connected() as both:
            first = asyncio.ensure_future(both.server.read_datagram())
            both.client.send_datagram(b"\x08first")
            assert await first == b"\x08first"
            for _ in range(300):
                both.client.send_datagram(b"\x08" + bytes(1000))
                both.client.send_datagram(prefix(FLOW) + b"mark")
                assert await both.far.receive() == b"mark"
            assert 200 < both.drops_in() < 300

    asyncio.run(main())


def refused_sockets() -> list[Any]:
    return [
        pytest.param(lambda: socket.socket(socket.AF_UNIX).detach(), id="stream"),
        pytest.param(lambda: socket.socket(type=socket.SOCK_DGRAM).detach(), id="udp"),
        pytest.param(lambda: os.open("/dev/null", os.O_RDWR), id="no socket"),
    ]


@pytest.mark.parametrize("make", refused_sockets())
def test_other_descriptors_are_refused_and_closed(make: Any) -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, _server = await pair.connect()
            descriptor = make()
            with pytest.raises(ValueError, match="not a datagram socket"):
                client.splice_flow(FLOW, descriptor)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)

    asyncio.run(main())


def test_bad_numbers_are_refused_and_the_socket_closed() -> None:
    async def main() -> None:
        async with connected() as both:
            for number, message in ((FLOW, "already"), (1 << 62, "too large")):
                far = Far(socket.SOCK_SEQPACKET)
                with pytest.raises(ValueError, match=message):
                    far.splice(both.server, number)
                assert await far.receive() == b""
                far.close()
            with pytest.raises(OSError, match="Bad file descriptor"):
                both.server.splice_flow(8, 1 << 20)
            both.client.send_datagram(prefix(FLOW) + b"unharmed")
            assert await both.far.receive() == b"unharmed"

    asyncio.run(main())


def test_activity_is_told_once_for_either_direction() -> None:
    async def main() -> None:
        async with connected() as both:
            waiting = asyncio.create_task(both.server.flow_activity())
            stream = await both.client.open_bi()
            await stream.send.write(b"no datagram")
            assert await (await both.server.accept_bi()).recv.read() == b"no datagram"
            assert not waiting.done()
            while not waiting.done():  # the engine may begin to wait a moment later
                both.client.send_datagram(prefix(8) + b"in, for nobody")
                await asyncio.wait((waiting,), timeout=0.01)
            await waiting
            waiting = asyncio.create_task(both.server.flow_activity())
            while not waiting.done():
                await both.far.send(b"out")
                await asyncio.wait((waiting,), timeout=0.01)
            await waiting
            both.client.close()
            await both.server.closed()
            waiting = asyncio.create_task(both.server.flow_activity())
            with pytest.raises(ConnectionLost):
                await waiting

    asyncio.run(main())


def test_news_of_the_path_come_first_at_once_and_then_to_one_who_waits() -> None:
    async def main() -> None:
        async with connected() as both:
            rtt_us, loss_ppm, window = await both.server.path_news(first=True)
            assert rtt_us > 0
            assert loss_ppm == 0
            assert window > 1000
            waiting = asyncio.create_task(both.server.path_news(first=False))
            await asyncio.sleep(0)
            waiting.cancel()
            assert (await both.server.path_news(first=True))[2] > 1000
            both.client.close()
            await both.server.closed()
            with pytest.raises(ConnectionLost):
                await both.server.path_news(first=False)

    asyncio.run(main())
