"""UDP that is blocked in mid-session: what is on the connection goes on through qshd's TCP port, and comes back to UDP."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.forwarding import Target, connect, echo, free_tcp_port
from tests.support.netns import Network
from tests.support.procs import BIN, Daemon, Files, LoginUser
from tests.support.terminal import wait_until
from tests.support.uplink import Uplink, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.tool("tmux", "nft")]

DELAY_MS = 10
TABLE = "add table inet t; add chain inet t {0} {{ type filter hook {0} priority 0; }}; "
RULE = "add rule inet t {0} meta {1}name wan0 meta l4proto {2} drop; "
UP = (TABLE + RULE).format("input", "iif", "udp")
DOWN = (TABLE + RULE).format("output", "oif", "udp")
TCP = (TABLE + RULE).format("input", "iif", "tcp")
LEAVING = b"no answer by UDP: going on through tcp"
RETURNING = b"UDP works: moving the connection there"
IN_VAIN = b"no answer by UDP; "
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n<html>"
PACE_S = 0.01
BLOCK_BYTES = 20_000
GAP_S = 2.0
SINGLE_LOGIN = 1
LIMIT_S = 30.0
PAUSE_S = 0.05


class Site(Uplink):
    """A server host with qshd on UDP and TCP."""

    tcp_port: int

    @property
    def log(self) -> Path:
        return self.files.home / "client.log"

    def work(self) -> Work:
        self.log.touch(0o666)
        host = self.network.server.ip4
        return Work(self, host, "-v", "-E", str(self.log), *self.options, pause_s=PAUSE_S)

    @property
    def options(self) -> tuple[str, ...]:
        return ("-o", f"QshTcpPort={self.tcp_port}", "-o", "QshFallback=no")

    def popen(self, *options: str) -> subprocess.Popen[bytes]:
        """A cat."""
        self.log.touch(0o666)
        more = ("-v", "-E", str(self.log), *self.options, *options)
        command = self.files.qsh(self.network.server.ip4, self.daemon.port, "cat", options=more)
        pipe = subprocess.PIPE
        return self.network.client.popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=self.files.env
        )

    def block(self, rules: str = UP + DOWN) -> None:
        self.network.server.run(["nft", rules], check=True)

    def unblock(self) -> None:
        self.network.server.run(["nft", "flush ruleset"], check=True)

    def said(self, text: bytes) -> int:
        """How often the client has."""
        return self.log.read_bytes().count(text)

    def logins(self) -> int:
        return sum("Accepted " in line for line in self.daemon.log)

    def status(self) -> dict[str, object]:
        """Of the one client, as `qshctl status` has it."""
        done = self.network.client.run(
            [str(BIN / "qshctl"), "status", "--json"], capture_output=True, env=self.files.env
        )
        (row,) = json.loads(done.stdout)
        return dict(row)


@pytest.fixture
def site() -> Iterator[Site]:
    with LoginUser() as user, Files(user.name, server="LogLevel INFO\n") as files:
        with Network.link(delay_ms=DELAY_MS) as network:
            port = free_tcp_port()
            options = ("-o", f"QshTcpPort={port}")
            with Daemon.qshd(files, side=network.server, options=options) as daemon:
                found = Site(network, files, daemon, user)
                found.tcp_port = port
                yield found


def typing(work: Work, until: Callable[[], bool], what: str, word: str = "typed") -> None:
    """Somebody types on until it is so."""
    number, typed_s = 0, 0.0

    def type_and_look() -> bool:
        nonlocal number, typed_s
        if (now := time.monotonic()) - typed_s >= 0.1:
            work.type(f"{word}-{number} ")
            number, typed_s = number + 1, now
        return until()

    wait_until(type_and_look, what, limit_s=LIMIT_S)


@pytest.mark.parametrize("rules", [UP, DOWN, UP + DOWN], ids=["up", "down", "both"])
def test_a_terminal_goes_on_by_tcp_and_comes_back(site: Site, rules: str) -> None:
    """It is the same connection all the time, and no byte is lost or doubled."""
    work = site.work()
    try:
        typing(work, lambda: len(work.typed) > 100, "work")
        site.block(rules)
        typing(work, lambda: site.said(LEAVING) == 1, "the move to TCP", "blocked")
        work.type("by-tcp ")
        work.screen.wait_for("heard by-tcp", LIMIT_S)
        wait_until(lambda: site.status()["migrations"] == 1, "the move in the status")
        assert site.status()["transport"] == "tcp"
        site.unblock()
        typing(work, lambda: site.said(RETURNING) == 1, "the move back", "later")
        wait_until(lambda: site.status()["migrations"] == 2, "the move back in the status")
        work.type("by-udp ")
        work.screen.wait_for("heard by-udp", LIMIT_S)
        assert site.status()["transport"] == "udp"
        site.block(TCP)  # nothing needs it any more
        typing(work, lambda: "heard udp-3" in "\n".join(work.screen.lines()), "the end", "udp")
        assert site.logins() == SINGLE_LOGIN
        work.end()
    finally:
        work.screen.close()
        print(site.log.read_text())
        print(site.daemon.log)


class Flow:
    """Bytes both ways at once, through something that gives back what it gets."""

    def __init__(
        self,
        send: Callable[[bytes], object],
        receive: Callable[[], bytes],
        finish: Callable[[], object],
    ) -> None:
        self._send, self._receive, self._finish = send, receive, finish
        self._sent, self._received = hashlib.sha256(), hashlib.sha256()
        self.sent = self.received = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._write, self._read)]
        for thread in self._threads:
            thread.start()

    def _write(self) -> None:
        while not self._over.wait(PACE_S):
            block = os.urandom(BLOCK_BYTES)
            self._send(block)
            self._sent.update(block)
            self.sent += len(block)
        self._finish()

    def _read(self) -> None:
        while data := self._receive():
            self._received.update(data)
            self.received += len(data)

    def await_more(self) -> None:
        """Until what is sent from now on has come back."""
        goal = self.sent + BLOCK_BYTES
        wait_until(lambda: self.received >= goal, "bytes", limit_s=LIMIT_S)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(LIMIT_S)
        assert (self.received, self._received.digest()) == (self.sent, self._sent.digest())


def flow_of(client: subprocess.Popen[bytes]) -> Flow:
    stdin, stdout = client.stdin, client.stdout
    assert stdin is not None
    assert stdout is not None
    return Flow(stdin.write, lambda: os.read(stdout.fileno(), 1 << 16), stdin.close)


def test_a_program_and_a_forwarded_connection_go_on(site: Site) -> None:
    """Nothing has to begin again: the streams are those of before."""
    target: Target = site.network.server.inside(lambda: Target(echo))
    port = free_tcp_port()
    with target, site.popen(f"-L{port}:127.0.0.1:{target.port}") as client:
        program = flow_of(client)
        program.await_more()
        with site.network.client.inside(lambda: connect(port)) as sock:
            sock.settimeout(LIMIT_S)
            forwarded = Flow(sock.sendall, lambda: sock.recv(1 << 16), lambda: sock.shutdown(1))
            flows = (program, forwarded)
            for flow in flows:
                flow.await_more()
            site.block()
            wait_until(lambda: site.said(LEAVING) == 1, "the move to TCP", LIMIT_S)
            for flow in flows:
                flow.await_more()
            site.unblock()
            wait_until(lambda: site.said(RETURNING) == 1, "the move back", LIMIT_S)
            site.block(TCP)
            for flow in flows:
                flow.await_more()
            for flow in reversed(flows):
                flow.end()
        assert client.wait(LIMIT_S) == 0
    assert target.connections == 1
    assert site.logins() == SINGLE_LOGIN


def test_loss_and_short_gaps_are_no_reasons(site: Site) -> None:
    work = site.work()
    try:
        site.network.set(loss=0.3)
        typing(work, lambda: len(work.typed) > 1000, "work")
        site.network.set(loss=0.0)
        for number in range(3):
            end_s = time.monotonic() + GAP_S
            site.network.set(cut=True)
            typing(work, lambda end_s=end_s: time.monotonic() >= end_s, "a gap", f"gap{number}")  # type: ignore[misc]
            site.network.set(cut=False)
            work.type(f"after-{number} ")
            work.screen.wait_for(f"heard after-{number}", LIMIT_S)
        assert not site.said(LEAVING)
        assert site.logins() == SINGLE_LOGIN
        work.end()
    finally:
        work.screen.close()


def test_an_outage_of_everything_is_waited_for(site: Site) -> None:
    """TCP is tried, and does not answer either."""
    with site.popen() as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"one\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"one\n"
        site.network.set(cut=True)
        client.stdin.write(b"two\n")
        client.stdin.flush()
        wait_until(lambda: site.said(IN_VAIN) > 0, "an attempt", LIMIT_S)
        site.network.set(cut=False)
        assert client.stdout.readline() == b"two\n"
        client.stdin.close()
        assert client.wait(LIMIT_S) == 0
    assert not site.said(LEAVING)


@pytest.mark.parametrize("says", [b"", PORTAL], ids=["nothing", "page"])
def test_who_does_not_take_packets_is_not_used(site: Site, says: bytes) -> None:
    """Such as the captive portal of a network that has just been joined."""
    server = site.network.server.inside(lambda: socket.create_server(("", 0)))
    taken: list[socket.socket] = []

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = server.accept()
                sock.sendall(says)
                taken.append(sock)

    thread = threading.Thread(target=answer)
    thread.start()
    site.tcp_port = server.getsockname()[1]
    with site.popen() as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"one\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"one\n"
        site.block()
        client.stdin.write(b"two\n")
        client.stdin.flush()
        wait_until(lambda: site.said(IN_VAIN) > 0, "an attempt", LIMIT_S)
        assert site.said(b"a captive portal?") == (site.said(IN_VAIN) if says else 0)
        site.unblock()
        assert client.stdout.readline() == b"two\n"
        client.stdin.close()
        assert client.wait(LIMIT_S) == 0
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(LIMIT_S)
    for sock in taken:
        sock.close()
    assert not site.said(LEAVING)
