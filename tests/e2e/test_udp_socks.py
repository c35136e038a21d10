"""UDP ASSOCIATE through ``-D`` (RFC 1928 7) against a real qshd."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.datagrams import UdpTarget, exchange
from tests.support.forwarding import Forwarding, connect, free_tcp_port, read
from tests.support.live_server import LiveServer, free_port
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


class Association:
    """A connection that asked for one, and a socket that may send."""

    def __init__(self, port: int, from_port: int = 0) -> None:
        self.control = connect(port)
        self.control.sendall(b"\x05\x01\x00")
        assert read(self.control, 2) == b"\x05\x00"
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        own = self.sock.getsockname()[1] if from_port < 0 else from_port
        self.control.sendall(b"\x05\x03\x00\x01" + bytes(4) + own.to_bytes(2, "big"))
        answer = read(self.control, 10)
        assert answer[:4] == b"\x05\x00\x00\x01"
        self.where = (socket.inet_ntoa(answer[4:8]), int.from_bytes(answer[8:], "big"))
        assert self.where[0] == "127.0.0.1"
        self.sock.connect(self.where)

    def __enter__(self) -> Association:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        self.sock.close()


def to(host: str, port: int) -> bytes:
    number = port.to_bytes(2, "big")
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return b"\0\0\0" + (b"\x01" if address.version == 4 else b"\x04") + address.packed + number
    return b"\0\0\0\x03" + bytes((len(host),)) + host.encode() + number


@contextlib.contextmanager
def dynamic(server: LiveServer, *options: str) -> Iterator[tuple[int, Forwarding]]:
    port = free_tcp_port()
    with Forwarding(server, "-D", str(port), *options) as client:
        yield port, client


def test_one_socket_many_targets(server: LiveServer) -> None:
    with (
        UdpTarget(bytes.upper) as one,
        UdpTarget() as two,
        UdpTarget(host="::1") as six,
        dynamic(server) as (port, _),
        Association(port) as made,
    ):
        for target, host, answer in (
            (one, "127.0.0.1", b"HELLO"),
            (two, "localhost", b"hello"),
            (six, "::1", b"hello"),
            (two, "127.0.0.1", b"hello"),
        ):
            header = to(host, target.port)
            assert exchange(made.sock, header + b"hello") == header + answer


def test_large_ones(server: LiveServer) -> None:
    with UdpTarget() as target, dynamic(server) as (port, _), Association(port) as made:
        header = to("127.0.0.1", target.port)
        for size in (0, 1, 1400, 65000):
            assert exchange(made.sock, header + bytes(size)) == header + bytes(size)


def test_it_ends_with_its_connection(server: LiveServer) -> None:
    with UdpTarget() as target, dynamic(server) as (port, client), Association(port) as made:
        header = to("127.0.0.1", target.port)
        assert exchange(made.sock, header + b"x") == header + b"x"
        made.control.close()
        client.expect("closed; datagrams: 1 sent, 1 received")

        def gone() -> bool:
            try:
                made.sock.send(header + b"x")
            except ConnectionRefusedError:
                return True
            return False

        wait_until(gone)


def test_who_may_use_it(server: LiveServer) -> None:
    """The address of the connection; and the port, if the request has one."""
    with (
        UdpTarget() as target,
        dynamic(server) as (port, _),
        Association(port, -1) as made,
        socket.socket(type=socket.SOCK_DGRAM) as other,
        socket.socket(type=socket.SOCK_DGRAM) as far,
    ):
        header = to("127.0.0.1", target.port)
        far.bind(("127.0.0.2", 0))
        for stranger in (other, far):
            stranger.sendto(header + b"stranger", made.where)
        assert exchange(made.sock, header + b"own") == header + b"own"
        assert target.heard == [b"own"]


def test_what_is_no_datagram_for_it(server: LiveServer) -> None:
    with UdpTarget() as target, dynamic(server) as (port, _), Association(port) as made:
        header = to("127.0.0.1", target.port)
        for data in (
            *(
                b"",
                b"\0",
                b"\0\0\x01" + header[3:] + b"fragment",
                header[:-1],
                header[:3] + b"\x09xx",
            ),
            *(to("127.0.0.1", 0) + b"x", to("", 5), to("a b", 5), b"\0\0\0\x03\xff" + bytes(100)),
        ):
            made.sock.send(data)
        assert exchange(made.sock, header + b"good") == header + b"good"
        assert target.heard == [b"good"]


def test_targets_that_are_none(server: LiveServer) -> None:
    with dynamic(server) as (port, client), Association(port) as made:
        made.sock.send(to("127.0.0.1", free_port()) + b"x")
        client.expect("Connection refused")
        made.sock.send(to("nonesuch.invalid", 5) + b"x")
        client.expect("open failed: connect failed")


def test_it_is_forbidden(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), "AllowTcpForwarding no")
    try:
        with UdpTarget() as target, dynamic(server) as (port, client), Association(port) as made:
            made.sock.send(to("127.0.0.1", target.port) + b"x")
            client.expect("open failed: administratively prohibited")
            assert not target.heard
    finally:
        server.stop()
