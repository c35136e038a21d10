"""UDP that is blocked in mid-session: what is on the connection goes on through qshd's TCP port, and comes back to UDP."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.blocked_udp import (
    DOWN,
    IN_VAIN,
    LEAVING,
    LIMIT_S,
    RETURNING,
    TCP,
    UP,
    BlockedUdp,
    Flow,
    flow_of,
    typing,
)
from tests.support.forwarding import Target, connect, echo, free_tcp_port
from tests.support.netns import Network
from tests.support.procs import Daemon, Files, LoginUser
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.tool("tmux", "nft")]

DELAY_MS = 10
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n<html>"
GAP_S = 2.0
SINGLE_LOGIN = 1


@pytest.fixture
def site() -> Iterator[BlockedUdp]:
    with LoginUser() as user, Files(user.name, server="LogLevel INFO\n") as files:
        with Network.link(delay_ms=DELAY_MS) as network:
            port = free_tcp_port()
            options = ("-o", f"QshTcpPort={port}")
            with Daemon.qshd(files, side=network.server, options=options) as daemon:
                found = BlockedUdp(network, files, daemon, user)
                found.options = ("-o", f"QshTcpPort={port}")
                yield found


@pytest.mark.parametrize("rules", [UP, DOWN, UP + DOWN], ids=["up", "down", "both"])
def test_a_terminal_goes_on_by_tcp_and_comes_back(site: BlockedUdp, rules: str) -> None:
    """It is the same connection all the time, and no byte is lost or doubled."""
    work = site.work()
    try:
        typing(work, lambda: len(work.typed) > 100, "work")
        site.block(rules)
        typing(work, lambda: site.said(LEAVING) == 1, "the move to TCP", "blocked")
        work.type("by-tcp ")
        work.hears("by-tcp")
        wait_until(lambda: site.status()["migrations"] == 1, "the move in the status")
        assert site.status()["transport"] == "tcp"
        site.unblock()
        typing(work, lambda: site.said(RETURNING) == 1, "the move back", "later")
        wait_until(lambda: site.status()["migrations"] == 2, "the move back in the status")
        work.type("by-udp ")
        work.hears("by-udp")
        assert site.status()["transport"] == "udp"
        site.block(TCP)  # nothing needs it any more
        typing(work, lambda: "heard udp-3" in "\n".join(work.screen.lines()), "the end", "udp")
        assert site.logins() == SINGLE_LOGIN
        work.end()
    finally:
        work.screen.close()
        print(site.log.read_text())
        print(site.daemon.log)


def test_a_program_and_a_forwarded_connection_go_on(site: BlockedUdp) -> None:
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


def test_loss_and_short_gaps_are_no_reasons(site: BlockedUdp) -> None:
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
            work.hears(f"after-{number}")
        assert not site.said(LEAVING)
        assert site.logins() == SINGLE_LOGIN
        work.end()
    finally:
        work.screen.close()


def test_an_outage_of_everything_is_waited_for(site: BlockedUdp) -> None:
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
def test_who_does_not_take_packets_is_not_used(site: BlockedUdp, says: bytes) -> None:
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
    site.options = ("-o", f"QshTcpPort={server.getsockname()[1]}")
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
