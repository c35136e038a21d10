"""Terminals over a shared connection: keys, sizes, escapes, and every way to end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.forwarding import Target, connect, echo, free_tcp_port, read
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.procs import tree
from tests.support.sharing import Shared, gone
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELL = "env PS1='ready$ ' HISTFILE= sh -i"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), f"{PLAIN_SHELL}\nDetachedMax 600")
    yield server
    server.stop()


@pytest.fixture
def shared(server: LiveServer, tmp_path: Path) -> Iterator[Shared]:
    shared = Shared(server, tmp_path)
    yield shared
    shared.end()


def shell(shared: Shared, *more: str, persist: str = "yes") -> OnTerminal:
    argv = shared.server.command(SHELL, options=shared.options("-t", *more, persist=persist))
    terminal = OnTerminal(argv, {**shared.server.env, "TERM": "xterm-256color"})
    terminal.expect(b"ready$ ")
    return terminal


def pid_of(terminal: OnTerminal) -> int:
    """The shell's."""
    terminal.type(b"echo p''id=$$.\r")
    terminal.expect(b"pid=")
    return int(terminal.expect(b".\r\n").partition(b".")[0])


@pytest.mark.parametrize("first", [True, False])
def test_keys_sizes_and_status(shared: Shared, first: bool) -> None:
    if not first:
        shared.run("true")
    with shell(shared) as terminal:
        terminal.type(b"stty size\r")
        terminal.expect(b"24 80")
        terminal.resize(30, 100)
        terminal.type(b"while [ \"$(stty size)\" != '30 100' ]; do :; done; echo res''ized\r")
        terminal.expect(b"resized")
        terminal.type(b"seq 100000 | tail -1; exit 7\r")
        terminal.expect(b"100000")
        terminal.expect(b"Shared connection to 127.0.0.1 closed.")
        assert terminal.wait() == 7
    assert shared.run("echo on").stdout == b"on\n"
    assert shared.logins == 1


def test_without_persist(shared: Shared) -> None:
    with shell(shared, persist="no") as terminal:
        pid = shared.master
        terminal.type(b"exit 3\r")
        assert terminal.wait() == 3
    wait_until(lambda: gone(pid), "the master to end")


def test_two_at_once(shared: Shared) -> None:
    with shell(shared) as one, shell(shared) as two:
        one.type(b"echo o''ne\r")
        two.type(b"echo t''wo\r")
        one.expect(b"one")
        two.expect(b"two")
        for terminal in (one, two):
            terminal.type(b"exit\r")
            assert terminal.wait() == 0
    assert shared.logins == 1


def test_the_escape_that_ends_it_hangs_up(shared: Shared) -> None:
    shared.run("true")
    with shell(shared) as terminal:
        pid = pid_of(terminal)
        terminal.type(b"\r~.")
        assert terminal.wait() == 255
        wait_until(lambda: gone(pid), "the shell to end")
    assert shared.run("echo on").stdout == b"on\n"
    assert shared.logins == 1


def test_a_killed_client_leaves_its_terminal(shared: Shared) -> None:
    """As over a connection of its own (docs/architecture.md 2.5)."""
    shared.run("true")
    with shell(shared) as terminal:
        pid = pid_of(terminal)
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.wait()
    assert shared.run("echo on").stdout == b"on\n"
    assert not gone(pid)
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: gone(pid), "the shell to end")


def test_detaching(shared: Shared) -> None:
    shared.run("true")
    with shell(shared) as terminal:
        pid = pid_of(terminal)
        terminal.type(b"\r~d")
        terminal.expect(b"[detached from session")
        assert terminal.wait() == 0
    assert not gone(pid)
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: gone(pid), "the shell to end")


def test_a_killed_master(shared: Shared) -> None:
    with shell(shared) as terminal:
        os.kill(shared.master, signal.SIGKILL)
        terminal.expect(b"Shared connection to 127.0.0.1 closed.")
        assert terminal.wait() == 255


OLD_S = 1.2
"""A front that ends younger is not replaced."""


def old_front_of(server: LiveServer) -> int:
    """The process that answers on the network, once it may be killed."""
    found: list[int] = []

    def old() -> bool:
        command = ["pgrep", "-x", "qshd-front", "-P", ",".join(map(str, tree(server.process.pid)))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found[:] = [int(word) for word in done.stdout.split() if age_s(int(word)) > OLD_S]
        return bool(found)

    wait_until(old, "a front")
    return found[0]


def age_s(pid: int) -> float:
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def test_a_lost_connection_is_replaced(shared: Shared) -> None:
    """The master connects again, once for both terminals; programs without one end, as over a connection of their own."""
    with shell(shared) as one, shell(shared) as two:
        program = shared.start("echo there; sleep 600")
        assert program.stdout is not None
        assert program.stdout.readline() == b"there\n"
        pid = shared.master
        os.kill(old_front_of(shared.server), signal.SIGKILL)
        assert program.wait(20) == 255
        for terminal, word in ((one, b"one"), (two, b"two")):
            terminal.type(b"echo back-''%s\r" % word)
            terminal.expect(b"back-" + word)
        assert shared.run("echo on").stdout == b"on\n"
        assert shared.master == pid
        assert shared.logins == 2
        for terminal in (one, two):
            terminal.type(b"exit 4\r")
            assert terminal.wait() == 4


def test_ended_while_there_is_no_connection(shared: Shared) -> None:
    with shell(shared) as terminal:
        pid = shared.master
        front = old_front_of(shared.server)
        shared.server.pause()
        try:
            os.kill(front, signal.SIGKILL)
            terminal.type(b"\r~.")
            assert terminal.wait() == 255
        finally:
            shared.server.resume()
        shared.ask("exit")  # it may have ended by itself: nobody was left to connect again for
    wait_until(lambda: gone(pid), "the master to end")


def test_forwards_are_there_again(shared: Shared) -> None:
    port, there = free_tcp_port(), free_tcp_port()
    with Target(echo) as target, shell(shared) as terminal:
        shared.ask("forward", "-L", f"{port}:127.0.0.1:{target.port}")
        shared.ask("forward", "-R", f"127.0.0.1:{there}:127.0.0.1:{target.port}")
        os.kill(old_front_of(shared.server), signal.SIGKILL)
        terminal.type(b"echo ba''ck\r")
        terminal.expect(b"back")

        def answers(where: int) -> bool:
            try:
                with connect(where) as sock:
                    sock.sendall(b"x")
                    return read(sock, 1) == b"x"
            except OSError:
                return False

        wait_until(lambda: answers(port) and answers(there), "the forwards")
        terminal.type(b"exit\r")
        assert terminal.wait() == 0
