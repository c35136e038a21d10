"""UDP sockets spliced with flows: one connected, and many peers of one that is bound."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.quic import Peer, UdpListener, flow_end, splice_udp

from .engine import engine_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from qsh.quic import Connection, Stream

LIMIT_S = 10.0


def udp() -> socket.socket:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


async def receive(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    return await asyncio.wait_for(loop.sock_recv(sock, 70000), LIMIT_S)


class Line:
    """A listener on the client's side, and what the server's side of each flow leads to."""

    def __init__(self, client: Connection, server: Connection, **options: object) -> None:
        self.client, self.server = client, server
        ears = udp()
        self.where = ears.getsockname()
        settings = {"limit": 4, "idle_s": 0.0, **options}
        self.listener = UdpListener(client.driver, ears, **settings)  # type: ignore[arg-type]
        self.target = udp()
        self.to = self.target.getsockname()
        self.peers: list[socket.socket] = []

    def peer(self) -> socket.socket:
        sock = udp()
        sock.connect(self.where)
        self.peers.append(sock)
        return sock

    async def heard(self) -> Peer:
        peer = await asyncio.wait_for(self.listener.peer(), LIMIT_S)
        assert peer is not None
        return peer

    async def flow(self, peer: Peer) -> tuple[asyncio.Future, Stream]:  # type: ignore[type-arg]
        """Up to here as before OPENED."""
        stream = await self.client.open_bi()
        stream.send.put(b"!")
        return self.listener.attach(peer, self.client, stream), stream

    async def lead(self) -> asyncio.Future:  # type: ignore[type-arg]
        other = await self.server.accept_bi()
        assert await other.recv.read(1) == b"!"
        out = socket.socket(type=socket.SOCK_DGRAM)
        out.connect(self.to)
        return splice_udp(self.server, other, out.detach())

    async def whole(self, sock: socket.socket) -> tuple[Peer, asyncio.Future]:  # type: ignore[type-arg]
        """A flow for what this one sends."""
        sock.send(b"first")
        peer = await self.heard()
        ended, stream = await self.flow(peer)
        await self.lead()
        self.listener.opened(peer, stream)
        assert await receive(self.target) == b"first"
        return peer, ended

    def close(self) -> None:
        self.listener.close()
        self.target.close()
        for sock in self.peers:
            sock.close()


@contextlib.asynccontextmanager
async def line(**options: object) -> AsyncIterator[Line]:
    async with engine_pair() as pair:
        made = Line(*await pair.connect(), **options)
        try:
            yield made
        finally:
            made.close()


def test_what_comes_before_the_flow_goes_first() -> None:
    async def main() -> None:
        async with line() as net:
            sock = net.peer()
            for data in (b"1", b"", b"3" * 5000):
                sock.send(data)
            peer = await net.heard()
            assert (peer.host, peer.port) == sock.getsockname()
            ended, stream = await net.flow(peer)
            sock.send(b"4")
            await net.lead()
            assert [await receive(net.target) for _ in range(4)] == [b"1", b"", b"3" * 5000, b"4"]
            net.listener.opened(peer, stream)
            net.listener.close()
            end = await flow_end(ended)
            assert (end.why, end.sent, end.received) == ("closed", 4, 0)
            assert await net.listener.peer() is None

    asyncio.run(main())


def test_both_ends_hear_of_the_end() -> None:
    async def main() -> None:
        async with line() as net:
            sock = net.peer()
            sock.send(b"first")
            peer = await net.heard()
            ended, stream = await net.flow(peer)
            far = await net.lead()
            net.listener.opened(peer, stream)
            net.server.end_flow(stream.id)
            assert (await flow_end(far)).why == "closed"
            assert (await flow_end(ended)).why == "ended"
            assert net.listener.counts == (0, 0)
            sock.send(b"again")
            assert (await net.heard()).number != peer.number

    asyncio.run(main())


def test_an_error_of_the_socket_resets_the_stream() -> None:
    async def main() -> None:
        async with line() as net:
            sock = net.peer()
            sock.send(b"first")
            peer = await net.heard()
            ended, stream = await net.flow(peer)
            net.target.close()
            far = await net.lead()
            net.listener.opened(peer, stream)
            end = await flow_end(far)
            assert (end.why, end.code) == ("socket", errno.ECONNREFUSED)
            end = await flow_end(ended)
            assert (end.why, end.code) == ("reset", 3)

    asyncio.run(main())


def test_idle_flows_end() -> None:
    async def main() -> None:
        async with line(idle_s=0.05) as net:
            _, ended = await net.whole(net.peer())
            assert await flow_end(ended) == ("idle", 0, 1, 0, 0)

    asyncio.run(main())


def test_the_longest_unused_goes_for_a_new_one() -> None:
    """But not one that had an answer a moment ago."""

    async def main() -> None:
        async with line(limit=2) as net:
            answered = net.peer()
            _, kept = await net.whole(answered)
            for _ in range(3):  # fewer would be a question, kept for a second only
                answered.send(b"ask")
                data, address = await ask(net.target)
                assert data == b"ask"
                net.target.sendto(b"answer", address)  # type: ignore[arg-type]
                assert await receive(answered) == b"answer"
            _, given_up = await net.whole(net.peer())
            _, newest = await net.whole(net.peer())
            assert (await flow_end(given_up)).why == "closed"
            assert not kept.done()
            assert not newest.done()
            assert net.listener.counts[0] == 2

    asyncio.run(main())


async def ask(sock: socket.socket) -> tuple[bytes, object]:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recvfrom(sock, 100), LIMIT_S)


def test_new_peers_come_at_a_limited_rate() -> None:
    """And who was there before is heard all the same."""

    async def main() -> None:
        async with line(limit=10_000) as net:
            first = net.peer()
            _, ended = await net.whole(first)
            for _ in range(1000):
                with socket.socket(type=socket.SOCK_DGRAM) as sock:
                    sock.sendto(b"x", net.where)
            heard = asyncio.ensure_future(receive(net.target))
            while not heard.done():  # the socket's buffer may have been full
                first.send(b"second")
                await asyncio.wait({heard}, timeout=0.1)
            assert heard.result() == b"second"
            peers, lost = net.listener.counts
            assert peers < 1000
            assert lost > 0
            assert not ended.done()

    asyncio.run(main())


def test_socks_headers_tell_targets_apart() -> None:
    header = b"\0\0\0\x01\x7f\0\0\x01\0\x35"
    other = b"\0\0\0\x03\x01a\0\x35"

    async def main() -> None:
        async with line(socks=True, only=("127.0.0.1", 0)) as net:
            sock = net.peer()
            for data in (
                b"",
                b"\0\0\x01" + header[3:] + b"fragment",
                header[:-1],
                b"\0\0\0\x09xxxxxxx",
            ):
                sock.send(data)
            sock.send(header + b"one")
            sock.send(other + b"two")
            one, two = await net.heard(), await net.heard()
            assert (one.header, two.header) == (header, other)
            assert net.listener.counts == (2, 4)
            ended, stream = await net.flow(one)
            await net.lead()
            net.listener.opened(one, stream)
            data, address = await ask(net.target)
            assert data == b"one"
            net.target.sendto(b"answer", address)  # type: ignore[arg-type]
            assert await receive(sock) == header + b"answer"
            assert not ended.done()

    asyncio.run(main())


def test_others_are_not_heard() -> None:
    async def main() -> None:
        async with line(only=("127.0.0.2", 0)) as net:
            net.peer().send(b"not from there")
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.2", 0))
                sock.sendto(b"x", net.where)
                assert (await net.heard()).host == "127.0.0.2"
            assert net.listener.counts == (1, 1)

    asyncio.run(main())


def test_bad_arguments() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, _ = await pair.connect()
            for sock in (socket.socket(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)):
                with pytest.raises(ValueError, match="not a datagram socket"):
                    UdpListener(client.driver, sock, limit=1, idle_s=0)
            with pytest.raises(ValueError, match="idle_s"):
                UdpListener(client.driver, udp(), limit=1, idle_s=-1)
            with pytest.raises(ValueError, match="only"):
                UdpListener(client.driver, udp(), limit=1, idle_s=0, only=("name", 0))
            listener = UdpListener(client.driver, udp(), limit=1, idle_s=0)
            stream = await client.open_bi()
            with pytest.raises(ValueError, match="no such peer"):
                listener.attach(Peer(7, "", 0, b""), client, stream)

    asyncio.run(main())
