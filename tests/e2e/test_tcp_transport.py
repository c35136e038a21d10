"""Where UDP is blocked: packets through qshd's TCP port, and back to UDP when that works."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import threading
from typing import IO, TYPE_CHECKING

import pytest

from tests.support.forwarding import free_tcp_port
from tests.support.netns import Network
from tests.support.procs import BIN, Daemon, Files, LoginUser
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.tool("nft")]

LIMIT_S = 60.0
MOVING = b"moving the connection"
GREETING = b"qsh/1 packets\r\n\r\n"
DROP = "add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in meta l4proto udp drop"


class Site:
    """A server host with qshd on UDP and TCP, seen from a client host."""

    def __init__(self, network: Network, files: Files, daemon: Daemon, tcp_port: int) -> None:
        self.network, self.files, self.daemon = network, files, daemon
        self.tcp_port = tcp_port

    def command(self, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        options = ("-o", f"QshTcpPort={self.tcp_port}", "-o", "QshFallback=no", *options)
        port, host = self.daemon.port, self.network.server.ip4
        return self.files.qsh(host, port, *words, options=options)

    def run(
        self, *words: str, stdin: bytes = b"", options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        return self.network.client.run(
            self.command(*words, options=options),
            input=stdin,
            capture_output=True,
            timeout=LIMIT_S,
            env=self.files.env,
        )

    def popen(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        log.touch(0o666)
        return self.network.client.popen(
            self.command(*words, options=("-v", "-E", str(log))),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.files.env,
        )

    def dial(self) -> socket.socket:
        where = (self.network.server.ip4, self.tcp_port)
        sock: socket.socket = self.network.client.inside(lambda: socket.create_connection(where, 5))
        sock.settimeout(10)
        return sock

    def block(self) -> None:
        self.network.server.run(["nft", DROP], check=True)

    def unblock(self) -> None:
        self.network.server.run(["nft", "flush ruleset"], check=True)


@pytest.fixture(scope="module")
def whole_site() -> Iterator[Site]:
    with LoginUser() as user, Files(user.name) as files, Network.veth() as network:
        port = free_tcp_port()
        options = ("-o", f"QshTcpPort={port}", "-o", "LogLevel=DEBUG")
        with Daemon.qshd(files, side=network.server, options=options) as daemon:
            yield Site(network, files, daemon, port)


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    yield whole_site
    whole_site.unblock()


def test_a_login_where_udp_is_dropped(site: Site) -> None:
    site.block()
    done = site.run("echo $SSH_CONNECTION; exit 5")
    assert (done.returncode, done.stderr) == (5, b"")
    assert done.stdout.split()[0] == site.network.client.ip4.encode()


def test_without_a_tcp_port_there_is_no_way(site: Site) -> None:
    site.block()
    done = site.run("true", options=("-o", "QshTransport=udp", "-o", "ConnectTimeout=2"))
    assert done.returncode == 255
    assert b"timed out" in done.stderr


@pytest.mark.parametrize("transport", ["auto", "tcp"])
def test_bytes_both_ways(site: Site, transport: str) -> None:
    site.block()
    data = os.urandom(16 << 20)
    done = site.run("cat", stdin=data, options=("-o", f"QshTransport={transport}"))
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def migrations(site: Site) -> list[int]:
    """Of each client, as `qshctl status` has them."""
    done = site.network.client.run(
        [str(BIN / "qshctl"), "status", "--json"], capture_output=True, env=site.files.env
    )
    return [row["migrations"] for row in json.loads(done.stdout) if "migrations" in row]


def test_a_session_moves_to_udp_when_it_works_and_loses_nothing(site: Site) -> None:
    site.block()
    log = site.files.home / "moving.log"
    with site.popen("cat", log=log) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        received, count = hashlib.sha256(), 0

        def read(stream: IO[bytes]) -> None:
            nonlocal count
            while data := os.read(stream.fileno(), 65536):
                received.update(data)
                count += len(data)

        reader = threading.Thread(target=read, args=(client.stdout,))
        reader.start()
        sent, total, block = hashlib.sha256(), 0, os.urandom(100_000)

        def write(stream: IO[bytes]) -> None:
            nonlocal total
            stream.write(block)
            sent.update(block)
            total += len(block)

        for _ in range(20):
            write(client.stdin)
        assert MOVING not in log.read_bytes()
        site.unblock()
        while MOVING not in log.read_bytes():
            write(client.stdin)
        for _ in range(200):
            write(client.stdin)
        wait_until(lambda: migrations(site) == [1], "the move in the status")
        client.stdin.close()
        assert client.wait(LIMIT_S) == 0
        reader.join()
    assert (count, received.digest()) == (total, sent.digest())
    assert b"back to TCP" not in log.read_bytes()


def test_a_session_goes_on_when_its_tcp_connection_is_cut(site: Site) -> None:
    site.block()
    log = site.files.home / "cut.log"
    with site.popen("cat", log=log) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for line in (b"one\n", b"two\n", b"three\n"):
            client.stdin.write(line)
            client.stdin.flush()
            assert client.stdout.readline() == line
            cut = ["ss", "-K", "sport", "=", f":{site.tcp_port}"]
            site.network.server.run(cut, check=True, stdout=subprocess.DEVNULL)
        client.stdin.close()
        assert client.wait(LIMIT_S) == 0
    assert log.read_bytes().count(b"Connecting to") > 3


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-x\r\n", bytes(100), GREETING + b"\0\1x", os.urandom(999)],
)
def test_garbage_is_closed(site: Site, sent: bytes) -> None:
    with site.dial() as sock:
        sock.sendall(sent)
        received = b""
        try:
            while data := sock.recv(100):
                received += data
        except ConnectionResetError:
            pass
        assert received in (GREETING, b"")
    assert site.run("true").returncode == 0


def test_idle_connections_keep_nobody_out(site: Site) -> None:
    site.block()
    idle = [site.dial() for _ in range(200)]
    assert site.run("echo in").stdout == b"in\n"
    for sock in idle:
        sock.close()


def test_who_was_answered_and_brings_no_connection_is_closed(site: Site) -> None:
    packet = b"\xc0\x0a\x1a\x2a\x3a" + b"\x08" + bytes(8) + b"\x08" + bytes(8) + bytes(1177)
    log = site.files.home / "idle.log"
    site.block()
    with site.popen("cat", log=log) as client, site.dial() as stranger:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"one\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"one\n"
        stranger.settimeout(LIMIT_S)
        stranger.sendall(GREETING + len(packet).to_bytes(2, "big") + packet)
        received = b""
        while data := stranger.recv(1000):
            received += data
        assert len(received) > len(GREETING)
        client.stdin.write(b"two\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"two\n"
        client.stdin.close()
        assert client.wait(LIMIT_S) == 0
    assert log.read_bytes().count(b"Connecting to") == 2  # by UDP and by TCP, and never again


def test_a_captive_portal_is_named(site: Site) -> None:
    site.block()
    server = site.network.server.inside(lambda: socket.create_server(("", 0)))
    port = server.getsockname()[1]

    def answer() -> None:
        sock, _ = server.accept()
        with sock:
            sock.recv(100)
            sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n<html>")
            sock.recv(100)

    thread = threading.Thread(target=answer)
    thread.start()
    options = ("-o", "QshTransport=tcp", "-o", f"QshTcpPort={port}")
    # The first value counts, so this one goes before.
    words = with_first(site.command("true"), options)
    done = site.network.client.run(words, capture_output=True, timeout=LIMIT_S, env=site.files.env)
    thread.join()
    server.close()
    assert done.returncode == 255
    told = done.stderr.decode()
    assert f"TCP port {port} of {site.network.server.ip4} answers with a web page (HTTP)" in told


def test_a_closed_tcp_port_is_named(site: Site) -> None:
    words = with_first(site.command("true"), ("-o", "QshTransport=tcp", "-o", "QshTcpPort=9"))
    done = site.network.client.run(words, capture_output=True, timeout=LIMIT_S, env=site.files.env)
    assert done.returncode == 255
    told = f"qsh: TCP port 9 of {site.network.server.ip4}: Connection refused\n"
    assert done.stderr.decode().replace("\r", "") == told


def with_first(words: list[str], options: tuple[str, ...]) -> list[str]:
    return [words[0], *options, *words[1:]]


def test_the_way_is_remembered_and_udp_ends_the_memory(site: Site) -> None:
    """The next start begins with TCP, where this one waited for UDP first."""
    memory = site.files.home / "state" / "qsh" / "transports"
    for file in memory.glob("*"):
        file.unlink()
    site.block()
    assert site.run("true").returncode == 0
    (file,) = memory.iterdir()
    assert file.read_text().startswith("way tcp\n")
    site.unblock()
    for _ in range(20):  # a race: UDP has the head start of the first packet, and wins soon
        assert site.run("true").returncode == 0
        if not list(memory.iterdir()):
            break
    assert not list(memory.iterdir())
