"""Forwards of a user on a qshd that is root's: connections are made with the user's rights, and keys may forbid them."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import live_server
from tests.support.forwarding import Forwarding, Target, connect, echo, free_tcp_port, read
from tests.support.live_server import LiveServer
from tests.support.users import User, temporary_user

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    text = live_server._SERVER
    live_server._SERVER = text.replace("AuthorizedKeysFile {home}/authorized_keys\n", "")
    try:
        running = LiveServer(tmp_path_factory.mktemp("qshd"))
    finally:
        live_server._SERVER = text
    yield running
    running.stop()


@pytest.fixture(scope="module")
def anna(server: LiveServer) -> Iterator[User]:
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        with temporary_user(Path(path)) as user:
            server.user = user.name
            yield user


@pytest.fixture(autouse=True)
def plain_key(server: LiveServer, anna: User) -> None:
    anna.authorize(server.user_key.line())


def test_a_socket_that_only_root_may_open(server: LiveServer, anna: User) -> None:
    for_root, for_anna = anna.home / "root", anna.home / "anna"
    with Target(echo, for_root), Target(echo, for_anna):
        for_root.chmod(0o600)
        os.chown(for_anna, anna.uid, anna.gid)
        done = server.run(options=("-W", str(for_anna)), stdin=b"x")
        assert (done.stdout, done.returncode) == (b"x", 0)
        done = server.run(options=("-W", str(for_root)), stdin=b"x")
        assert done.returncode == 255
        assert b"channel 0: open failed: connect failed: Permission denied" in done.stderr


def test_the_connection_is_the_users(server: LiveServer, anna: User) -> None:
    peers: list[int] = []

    def serve(sock: socket.socket) -> None:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        peers.append(int.from_bytes(credentials[4:8], "little"))

    path = anna.home / "who"
    with Target(serve, path):
        path.chmod(0o666)
        assert server.run(options=("-W", str(path))).returncode == 0
    assert peers == [anna.uid]


@pytest.mark.parametrize(
    "options", ["restrict", "no-port-forwarding", 'permitopen="localhost:1"', "restrict,pty"]
)
def test_what_the_key_forbids(server: LiveServer, anna: User, options: str) -> None:
    anna.authorize(f"{options} {server.user_key.line()}")
    port, socks = free_tcp_port(), free_tcp_port()
    with Target(echo) as target:
        forwards = ("-L", f"{port}:127.0.0.1:{target.port}", "-D", str(socks))
        with Forwarding(server, *forwards) as client:
            with connect(port) as sock:
                assert sock.recv(1) == b""
            client.expect("open failed: administratively prohibited: open failed")
            with connect(socks) as sock:
                sock.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
                assert read(sock, 12)[:4] == b"\x05\x00\x05\x02"
        assert target.connections == 0


def test_what_the_key_permits(server: LiveServer, anna: User) -> None:
    port = free_tcp_port()
    with Target(echo) as target:
        permit = f'restrict,port-forwarding,permitopen="localhost:{target.port}"'
        anna.authorize(f"{permit} {server.user_key.line()}")
        with Forwarding(server, "-L", f"{port}:localhost:{target.port}"), connect(port) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"


def test_a_port_that_only_root_may_listen_on(server: LiveServer) -> None:
    done = server.run("echo on", options=("-R", "7:localhost:1"))
    assert b"Warning: remote port forwarding failed for listen port 7" in done.stderr
    assert done.stdout == b"on\n"


@pytest.mark.parametrize(
    "options", ["restrict", "no-port-forwarding", 'permitlisten="1234"', "restrict,pty"]
)
def test_where_the_key_forbids_to_listen(server: LiveServer, anna: User, options: str) -> None:
    anna.authorize(f"{options} {server.user_key.line()}")
    port = free_tcp_port()
    done = server.run(options=("-N", "-oExitOnForwardFailure=yes", "-R", f"{port}:localhost:1"))
    text = f"Error: remote port forwarding failed for listen port {port}\r\n".encode()
    assert (done.stderr, done.returncode) == (text, 255)


def test_a_path_to_listen_on_is_the_users(server: LiveServer, anna: User, tmp_path: Path) -> None:
    path = anna.home / "listens"
    with Target(echo) as target:
        with Forwarding(server, "-R", f"{path}:localhost:{target.port}") as client:
            client.expect("remote forward success")
            assert path.stat().st_uid == anna.uid
    tmp_path.chmod(0o700)
    done = server.run("echo on", options=("-R", f"{tmp_path}/x:localhost:1"))
    assert f"failed for listen path {tmp_path}/x".encode() in done.stderr
