"""Escapes that look at the connection and change its forwards: ``~C``, ``~#``, ``~s``, ``~I``, ``~R``, ``~&``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.forwarding import Target, connect, echo, free_tcp_port, read
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.sharing import Shared
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENABLED = ("-o", "EnableEscapeCommandline=yes")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), PLAIN_SHELL)
    yield server
    server.stop()


@pytest.fixture
def target() -> Iterator[int]:
    with Target(echo) as target:
        yield target.port


def shell(server: LiveServer, *options: str) -> OnTerminal:
    argv = server.command("env PS1='ready$ ' HISTFILE= sh -i", options=("-t", *options))
    terminal = OnTerminal(argv, {**server.env, "TERM": "xterm-256color"})
    terminal.expect(b"ready$ ")
    return terminal


def command(terminal: OnTerminal, line: str, answer: bytes) -> None:
    terminal.type(b"\r~C")
    terminal.expect(b"ssh> ")
    terminal.type(line.encode() + b"\r")
    terminal.expect(answer)


def answers(port: int) -> bool:
    try:
        with connect(port) as sock:
            sock.sendall(b"x")
            return read(sock, 1) == b"x"
    except OSError:
        return False


def ends(terminal: OnTerminal) -> None:
    terminal.type(b"\rexit 5\r")
    assert terminal.wait() == 5


def test_forwards_come_and_go(server: LiveServer, target: int) -> None:
    local, remote = free_tcp_port(), free_tcp_port()
    with shell(server, *ENABLED) as terminal:
        command(terminal, f"-L{local}:127.0.0.1:{target}", b"Forwarding port.")
        assert answers(local)
        with connect(local) as sock:
            sock.sendall(b"x")
            assert read(sock, 1) == b"x"
            terminal.type(b"\r~#")
            terminal.expect(
                b"direct-tcpip: listening port %d for 127.0.0.1 port %d" % (local, target)
            )
        command(terminal, f"KL {local}", b"Canceled forwarding.")
        assert not answers(local)
        command(terminal, f"-R 127.0.0.1:{remote}:127.0.0.1:{target}", b"Forwarding port.")
        assert answers(remote)
        command(terminal, f"-KR127.0.0.1:{remote}", b"Canceled forwarding.")
        wait_until(lambda: not answers(remote), "the host to listen no more")
        command(terminal, f"-D{local}", b"Forwarding port.")
        connect(local).close()
        command(terminal, f"-KD{local}", b"Canceled forwarding.")
        command(terminal, f"-L udp/{local}:127.0.0.1:{target}", b"Forwarding port.")
        command(terminal, f"-KL udp/{local}", b"Canceled forwarding.")
        ends(terminal)


def test_what_it_says(server: LiveServer) -> None:
    taken = free_tcp_port()
    with Target(echo) as target, shell(server, *ENABLED) as terminal:
        command(terminal, "-h", b"-KD[bind_address:]port                 Cancel dynamic forward")
        command(terminal, "-x", b"Invalid command.")
        command(terminal, "-L nonsense", b"Bad local forwarding specification.")
        command(terminal, "-R 1:2:3:4:5", b"Bad remote forwarding specification.")
        command(terminal, "-KL x:y:z", b"Bad forwarding close specification.")
        command(terminal, f"-KL{taken}", b"Unknown port forwarding.")
        command(terminal, f"-L127.0.0.1:{target.port}:h:1", b"Port forwarding failed.")
        command(terminal, f"-R127.0.0.1:{target.port}:h:1", b"Port forwarding failed.")
        command(terminal, "!echo local", b"Invalid command.")
        terminal.type(b"\r~Cecho no\x03echo o''n\r")  # cancelled; the rest is for the host
        terminal.expect(b"on\r\n")
        ends(terminal)


def test_a_local_command(server: LiveServer) -> None:
    with shell(server, *ENABLED, "-o", "PermitLocalCommand=yes") as terminal:
        command(terminal, "!echo lo''cal", b"local\r\n")
        ends(terminal)


def test_it_is_disabled_unless_enabled(server: LiveServer) -> None:
    with shell(server) as terminal:
        terminal.type(b"\r~C")
        terminal.expect(b"commandline disabled")
        terminal.type(b"\r~?")
        assert b"~C" not in terminal.expect(b"this message")
        ends(terminal)
    with shell(server, *ENABLED) as terminal:
        terminal.type(b"\r~?")
        assert b"~C   - open a command line" in terminal.expect(b"this message")
        ends(terminal)


def test_how_the_connection_does(server: LiveServer) -> None:
    with shell(server) as terminal:
        for key in (b"~s", b"~I"):
            terminal.type(b"\r" + key)
            terminal.expect(b"Connection information for ")
            terminal.expect(b"-> 127.0.0.1:%d\r\n" % server.port)
            terminal.expect(b"  round trip ")
            terminal.expect(b" out\r\n")
        terminal.type(b"\r~R")
        terminal.expect(b"QUIC renews its keys by itself")
        terminal.type(b"\r~&")
        terminal.expect(b"not in the background")
        ends(terminal)


def test_over_a_shared_connection(server: LiveServer, tmp_path: Path) -> None:
    shared = Shared(server, tmp_path)
    try:
        with shell(server, *shared.options(*ENABLED)) as terminal:
            terminal.type(b"\r~C")
            terminal.expect(b"escape not available to multiplexed sessions")
            terminal.type(b"\r~s")
            terminal.expect(b"  round trip ")
            terminal.type(b"\r~?")
            assert b"~.   - terminate session\r\n" in terminal.expect(b"this message")
            ends(terminal)
    finally:
        shared.end()
