"""Packets in a byte stream: TCP, unix sockets and pipes, alone and beside UDP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ParamSpec

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from qsh.quic import (
    Connection,
    Driver,
    Endpoint,
    client_endpoint,
    client_socket,
    server_endpoint,
    server_socket,
    stream_endpoint,
    suit_packets,
    tcp_listener,
)

from .engine import ALL_SCHEMES, SignerThread, spki

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

P = ParamSpec("P")
GREETING = b"qsh/1 packets\r\n\r\n"
HOST = "127.0.0.1"
LIMIT_S = 30


def runs(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run the test in a loop of its own, with a deadline."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), LIMIT_S))

    return run


@dataclass
class Listener:
    """A server on UDP and TCP."""

    driver: Driver
    endpoint: Endpoint
    tcp: socket.socket
    signing: SignerThread
    ends: list[asyncio.Future[tuple[str, bytes]]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.endpoint.local_address[1]

    async def take(self) -> asyncio.Future[tuple[str, bytes]]:
        """Accept one TCP connection; its end."""
        sock, address = await asyncio.get_running_loop().sock_accept(self.tcp)
        with sock:
            suit_packets(sock)
            end = self.endpoint.add_stream(sock.fileno(), address[:2])
        self.ends.append(end)
        return end

    async def dial(self, source: str = HOST) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, self.tcp.getsockname())
        suit_packets(sock)
        return sock

    async def client(self) -> Endpoint:
        with await self.dial() as sock:
            await self.take()
            return stream_endpoint(self.driver, sock.fileno(), (HOST, self.port))

    async def connect(self, client: Endpoint) -> tuple[Connection, Connection]:
        async def answer() -> Connection:
            incoming = await self.endpoint.accept()
            assert incoming is not None
            return await incoming.accept(self.signing.signer())

        ours, theirs = await asyncio.gather(connect(client, self.signing, self.port), answer())
        await theirs.handshake_done()
        return ours, theirs


def connect(client: Endpoint, signing: SignerThread, port: int, **options: Any) -> Any:
    return client.connect(
        HOST,
        port,
        server_name="localhost",
        schemes=ALL_SCHEMES,
        trusted=[spki(key) for key in signing.keys],
        timeout_s=5,
        **options,
    )


@contextlib.asynccontextmanager
async def listener() -> AsyncIterator[Listener]:
    signing = SignerThread([ed25519.Ed25519PrivateKey.generate()])
    async with Driver() as driver:
        with server_socket(0, HOST) as udp, tcp_listener(0, HOST) as tcp:
            endpoint = server_endpoint(driver, udp, streams=True)
            try:
                yield Listener(driver, endpoint, tcp, signing)
            finally:
                endpoint.close()
    signing.close()


async def echo(ours: Connection, theirs: Connection, data: bytes) -> bytes:
    """``data`` to the other side and back."""

    async def answer() -> None:
        stream = await theirs.accept_bi()
        while part := await stream.recv.read():
            await stream.send.write(part)
        stream.send.finish()

    stream = await ours.open_bi()
    answering = asyncio.ensure_future(answer())

    async def write() -> None:
        await stream.send.write(data)
        stream.send.finish()

    writing = asyncio.ensure_future(write())
    received = bytearray()
    while part := await stream.recv.read():
        received += part
    await writing
    await answering
    return bytes(received)


@runs
async def test_a_connection_over_tcp_beside_one_over_udp() -> None:
    async with listener() as server:
        client = await server.client()
        over_tcp = await server.connect(client)
        with client_socket(HOST) as udp:
            other = client_endpoint(server.driver, udp)
        over_udp = await server.connect(other)
        big = os.urandom(3 << 20)
        assert await asyncio.gather(echo(*over_tcp, big), echo(*over_udp, big)) == [big, big]
        assert over_tcp[1].remote_address[0] == over_udp[1].remote_address[0] == HOST
        assert over_tcp[1].local_ip == HOST
        client.close()
        other.close()


@runs
async def test_streams_have_an_incoming_whose_address_is_proven() -> None:
    async with listener() as server:
        client = await server.client()
        dialled = asyncio.ensure_future(connect(client, server.signing, server.port))
        incoming = await server.endpoint.accept()
        assert incoming is not None
        assert incoming.address_validated
        assert incoming.stream
        assert not incoming.retry()
        theirs = await incoming.accept(server.signing.signer())
        ours = await dialled
        assert await echo(ours, theirs, b"here") == b"here"
        server.endpoint.close_stream(incoming.stream)
        why, _ = await client.stream_ended()
        assert why == "end"
        assert (await server.ends[0])[0] == "closed"
        client.close()


@runs
async def test_a_connection_moves_to_udp_and_back_to_tcp_and_loses_nothing() -> None:
    async with listener() as server:
        client = await server.client()
        ours, theirs = await server.connect(client)
        assert await echo(ours, theirs, b"tcp") == b"tcp"
        big = os.urandom(8 << 20)
        copying = asyncio.ensure_future(echo(ours, theirs, big))
        with client_socket(HOST) as udp:
            client.rebind(udp)
        assert (await server.ends[0])[0] == "end"
        with await server.dial() as sock:
            await server.take()
            client.rebind_stream(sock.fileno(), (HOST, server.port))
        assert await copying == big
        assert server.endpoint.open_streams == 1
        client.close()


@runs
async def test_after_the_end_of_its_stream_a_connection_goes_on_with_another() -> None:
    async with listener() as server:
        client = await server.client()
        ours, theirs = await server.connect(client)
        with await server.dial() as sock:
            await server.take()
            client.rebind_stream(sock.fileno(), (HOST, server.port))
            assert await echo(ours, theirs, b"on") == b"on"
        server.endpoint.close_stream(2)
        assert (await client.stream_ended())[0] == "end"
        with await server.dial() as sock:
            await server.take()
            client.rebind_stream(sock.fileno(), (HOST, server.port))
        assert await echo(ours, theirs, b"still") == b"still"
        client.close()


@pytest.mark.parametrize("kind", ["unix", "pipes"])
@runs
async def test_alone_over_a_unix_socket_and_over_pipes(kind: str) -> None:
    signing = SignerThread([ed25519.Ed25519PrivateKey.generate()])
    async with Driver() as driver:
        if kind == "unix":
            near, far = socket.socketpair()
            there, back = (near.detach(),) * 2, (far.detach(),) * 2
        else:
            (read, far_write), (far_read, write) = os.pipe(), os.pipe()
            there, back = (read, write), (far_read, far_write)
        peer = ("192.0.2.1", 22)
        client = stream_endpoint(driver, there[0], peer, write_fd=there[1], noise=1000)
        os.write(back[1], b"Welcome to this machine!\r\n")
        server = stream_endpoint(driver, back[0], peer, server=True, write_fd=back[1])
        for fd in {*there, *back}:
            os.close(fd)
        dialled = asyncio.ensure_future(
            client.connect(
                *peer, server_name="x", schemes=ALL_SCHEMES, trusted=[spki(signing.keys[0])]
            )
        )
        incoming = await server.accept()
        assert incoming is not None
        theirs = await incoming.accept(signing.signer())
        big = os.urandom(1 << 20)
        ours = await dialled
        assert await echo(ours, theirs, big) == big
        client.close()
        assert (await server.stream_ended())[0] == "end"
        server.close()
    signing.close()


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "stranger"),
        (b"SSH-2.0-OpenSSH_10.0\r\n", "stranger"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "stranger"),
        (GREETING + b"\0\0", "malformed"),
        (GREETING + b"\0\x14", "malformed"),
        (GREETING[:5], "end"),
        (GREETING + b"\xff\xff" + bytes(10), "end"),
    ],
)
@runs
async def test_what_is_no_packets_is_closed(sent: bytes, why: str) -> None:
    async with listener() as server:
        loop = asyncio.get_running_loop()
        with await server.dial() as sock:
            end = await server.take()
            await loop.sock_sendall(sock, sent)
            if why == "end":
                sock.shutdown(socket.SHUT_WR)
            assert (await end)[0] == why
            assert await loop.sock_recv(sock, 100) == GREETING
            assert await loop.sock_recv(sock, 100) == b""
        assert server.endpoint.open_streams == 0


@runs
async def test_a_client_is_told_how_a_stranger_begins() -> None:
    async with Driver() as driver:
        near, far = socket.socketpair()
        with near, far:
            client = stream_endpoint(driver, near.fileno(), (HOST, 1))
            far.send(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>")
            why, head = await client.stream_ended()
            assert (why, head) == ("stranger", b"HTTP/1.1 400 Bad Request\r\n\r\n<html>")


@runs
async def test_silent_streams_give_way() -> None:
    async with listener() as server:
        silent = []
        for _ in range(200):
            silent.append(await server.dial())
            await server.take()
        assert server.endpoint.open_streams <= 128
        client = await server.client()
        ours, theirs = await server.connect(client)
        assert await echo(ours, theirs, b"in") == b"in"
        client.close()
        for sock in silent:
            sock.close()


UNKNOWN_VERSION = b"\xc0\x0a\x1a\x2a\x3a" + b"\x08" + bytes(8) + b"\x08" + bytes(8) + bytes(1177)


async def answered_stranger(server: Listener) -> tuple[socket.socket, int]:
    """A stream that has been answered, by Version Negotiation, and carries no connection; bytes that came."""
    loop = asyncio.get_running_loop()
    sock = await server.dial()
    await server.take()
    packet = len(UNKNOWN_VERSION).to_bytes(2, "big") + UNKNOWN_VERSION
    await loop.sock_sendall(sock, GREETING + packet)
    count = 0
    while count <= len(GREETING):
        count += len(await loop.sock_recv(sock, 1000))
    return sock, count


@runs
async def test_streams_that_were_answered_and_carry_no_connection_give_way() -> None:
    async with listener() as server:
        client = await server.client()
        ours, theirs = await server.connect(client)
        strangers = [(await answered_stranger(server))[0] for _ in range(200)]
        assert server.endpoint.open_streams <= 129
        assert await echo(ours, theirs, b"still in") == b"still in"
        another = await server.client()
        assert await echo(*await server.connect(another), b"in") == b"in"
        client.close()
        another.close()
        for sock in strangers:
            sock.close()


@runs
async def test_who_brings_many_streams_gives_way_before_who_brings_one() -> None:
    junk = GREETING + b"\x00\x15" + bytes(21)
    async with listener() as server:
        loop = asyncio.get_running_loop()
        with await server.dial("127.0.0.2") as sock:
            alone = await server.take()
            crowd = []
            for _ in range(200):
                crowd.append(await server.dial())
                await server.take()
                await loop.sock_sendall(crowd[-1], junk)
            assert server.endpoint.open_streams <= 128
            assert not alone.done()
            assert await loop.sock_recv(sock, 100) == GREETING
        for each in crowd:
            each.close()


@runs
async def test_a_stream_that_carries_nothing_at_two_looks_is_closed() -> None:
    async with listener() as server:
        client = await server.client()
        ours, theirs = await server.connect(client)
        assert theirs.on_stream == 1
        sock, _ = await answered_stranger(server)
        silent = await server.dial()
        await server.take()
        with sock, silent:
            server.endpoint.keep_streams([theirs.on_stream])
            assert server.endpoint.open_streams == 3
            server.endpoint.keep_streams([theirs.on_stream])
            assert (await server.ends[1])[0] == "idle"
            assert server.endpoint.open_streams == 2  # who is silent has his own time
            assert await echo(ours, theirs, b"still in") == b"still in"
            with client_socket(HOST) as udp:
                client.rebind(udp)
            assert await echo(ours, theirs, b"udp") == b"udp"
            assert theirs.on_stream == 0
        client.close()


@runs
async def test_a_stream_that_is_full_holds_up_its_connection_only() -> None:
    async with listener() as server:
        stuck_end, free_end = await server.client(), await server.client()
        stuck = await server.connect(stuck_end)
        with await server.dial() as sock, await server.dial() as free:
            await server.take()
            await server.take()
            # The reader of this one is a socket that nobody reads: the greeting and a window of packets fill it.
            stuck_end.rebind_stream(sock.fileno(), (HOST, server.port))
            free_end.rebind_stream(free.fileno(), (HOST, server.port))
        other = await server.connect(free_end)
        stream = await stuck[1].open_uni()
        flooding = asyncio.ensure_future(stream.write(bytes(4 << 20)))
        big = os.urandom(2 << 20)
        assert await echo(*other, big) == big
        flooding.cancel()
        stuck_end.close()
        free_end.close()


def test_an_endpoint_without_streams_takes_none() -> None:
    async def main() -> None:
        async with Driver() as driver:
            with server_socket(0, HOST) as udp:
                endpoint = server_endpoint(driver, udp)
                with pytest.raises(ValueError, match="without streams"):
                    endpoint.add_stream(udp.fileno(), (HOST, 1))
            with open(__file__, "rb") as file, pytest.raises(OSError, match="socket"):  # noqa: ASYNC230
                stream_endpoint(driver, file.fileno(), (HOST, 1))

    asyncio.run(main())
