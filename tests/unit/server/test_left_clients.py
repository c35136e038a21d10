"""What clients of a front that has ended are sent by the next one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket

import pytest

from qsh.quic import server_endpoint, server_socket
from qsh.server.front_secrets import reset_key_at
from qsh.server.left_clients import reset_packet, tell
from qsh.server.reloading import address_of
from qsh.server.requests import LeftClient
from tests.unit.quic.engine import engine_pair

KEY, ID = b"k" * 32, b"i" * 8


def token(key: bytes) -> bytes:
    return hmac.new(key, ID, hashlib.sha256).digest()[:16]


def test_a_reset_looks_like_a_packet() -> None:
    packet = reset_packet(KEY, ID)
    assert packet.endswith(token(KEY))
    assert packet[0] & 0xC0 == 0x40, "a short header"
    assert 21 <= len(packet) <= 43, "shorter than any packet that would be answered by another one"
    assert packet[:-16] != reset_packet(KEY, ID)[:-16]


NO_ADDRESSES = ("no address", "localhost", "", "<broadcast>", "nul\0", "\udc80", "fe80::1%lo")


def test_names_are_looked_up_by_nobody() -> None:
    """A front that was broken into may have said where its clients were: its successor may not ask for names, and would be
    killed.
    """
    with bound(socket.AF_INET, "127.0.0.1") as client:
        server = bound(socket.AF_INET, "127.0.0.1")
        here, port = client.getsockname()[1], server.getsockname()[1]
        left = [
            LeftClient((client_is, here), (server_is, port), ID)
            for client_is, server_is in (
                *((each, "127.0.0.1") for each in NO_ADDRESSES),
                *(("127.0.0.1", each) for each in NO_ADDRESSES),
            )
        ]
        asyncio.run(tell(left, [server], KEY))
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(2000)


def bound(family: int, host: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(20)
    return sock


@pytest.mark.parametrize(
    ("family", "listens", "known_as"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", "127.0.0.2"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "::1"),
        (socket.AF_INET6, "::", "127.0.0.2"),
    ],
)
def test_it_comes_from_where_the_client_knows_the_server(
    family: int, listens: str, known_as: str
) -> None:
    """Those that cannot be reached, or were clients of another port, keep nobody waiting."""
    inner = socket.AF_INET6 if ":" in known_as else socket.AF_INET
    with bound(inner, "::1" if ":" in known_as else "127.0.0.1") as client:
        server, other = bound(family, listens), bound(family, listens)
        port = server.getsockname()[1]
        here = (client.getsockname()[0], client.getsockname()[1])
        key = reset_key_at(KEY, address_of(server))
        left = [
            *(LeftClient((each, 1), (known_as, port), ID) for each in NO_ADDRESSES),
            LeftClient(here, (known_as, 1), ID),
            LeftClient(here, (known_as, port), ID),
        ]
        asyncio.run(tell(left, [other, server], KEY))
        packet, source = client.recvfrom(2000)
        assert packet.endswith(token(key))
        assert source[:2] == (known_as, port)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(2000)
        assert server.fileno() == other.fileno() == -1


def test_no_other_listener_answers_with_the_reset_of_a_connection() -> None:
    """Who sees the id of a connection's packets, and sends it there, hears nothing that would end the connection."""

    async def main() -> None:
        async with engine_pair() as pair:
            with server_socket(0, "127.0.0.1") as one, server_socket(0, "127.0.0.1") as two:
                pair.server_end.close()
                pair.server_end, other = (
                    server_endpoint(
                        pair.driver, each, reset_key=reset_key_at(KEY, address_of(each))
                    )
                    for each in (one, two)
                )
            _client, server = await pair.connect()
            with bound(socket.AF_INET, "127.0.0.1") as observer:
                observer.connect(other.local_address)
                observer.send(b"\x40" + server.first_id + bytes(60))
                observer.send(
                    b"\xc0\x1a\x2a\x3a\x4a\x08" + bytes(1300)
                )  # of no version that there is
                answer = await asyncio.to_thread(observer.recv, 2000)
            assert answer[0] & 0x80, "only to what is no connection's"
            other.close()

    asyncio.run(main())
