"""Interactive sessions of qsh with a real qshd, on a real pseudo-terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


PROMPT = b"ready$ "


def open_shell(server: LiveServer, *options: str) -> OnTerminal:
    """qsh under a shell that outlives it, at the remote prompt."""
    argv = server.command(options=("-t", *options))
    command = ["env PS1='ready$ ' HISTFILE= sh -i"]
    env = {**server.env, "TERM": "xterm-256color"}
    terminal = OnTerminal(
        ["/bin/sh", "-c", 'stty -g; "$@"; echo "end $?"; stty -g; read x', "sh", *argv, *command],
        env,
    )
    terminal.before = terminal.expect(b"\r\n")  # type: ignore[attr-defined]
    terminal.expect(PROMPT)
    return terminal


def client_of(terminal: OnTerminal) -> int:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(terminal.pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(found.stdout.split()[0])


def is_raw(terminal: OnTerminal) -> bool:
    return not termios.tcgetattr(terminal.fd)[3] & termios.ICANON


def ends(terminal: OnTerminal, status: int) -> bytes:
    """Wait for the end; the terminal must be as it was."""
    seen = terminal.expect(b"end %d\r\n" % status)
    assert terminal.expect(b"\r\n") == terminal.before  # type: ignore[attr-defined]
    return seen


def test_shell(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"echo $((20+3)) $TERM; stty size\r")
        terminal.expect(b"23 xterm-256color\r\n24 80\r\n")
        terminal.expect(PROMPT)
        terminal.type(b"exit 5\r")
        assert b"Connection to 127.0.0.1 closed." in ends(terminal, 5)


def test_window_size_follows(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"trap 'echo size $(stty size)' WINCH\r")
        terminal.expect(PROMPT)
        terminal.resize(40, 100)
        os.kill(client_of(terminal), signal.SIGWINCH)
        terminal.type_until(b"\r", b"size 40 100")  # bash tells after the next line that it reads


def test_interrupt_key_goes_to_the_remote_side(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"sh -c 'echo go; exec sleep 100'\r")
        terminal.expect(b"\ngo\r\n")
        terminal.type(b"\x03")
        terminal.expect(PROMPT)
        terminal.type(b"exit\r")
        ends(terminal, 130)


def test_escape_help_and_end(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"\r")
        terminal.expect(PROMPT)
        terminal.type(b"~?")
        terminal.expect(b"~?\r\nSupported escape sequences:\r\n")
        terminal.expect(b"immediately after newline.)\r\n")
        terminal.type(b"~#")
        terminal.expect(b"The following connections are open:")
        terminal.type(b"~.")
        assert b"~.\r\nConnection to 127.0.0.1 closed." in ends(terminal, 255)


def test_escape_ends_a_dead_connection(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        server.pause()
        try:
            terminal.type(b"\rx" * 2000 + b"\r~.")
            ends(terminal, 255)
        finally:
            server.resume()


def test_suspend(server: LiveServer) -> None:
    argv = server.command(options=("-t",))
    env = {**server.env, "PS1": "local> ", "HISTFILE": ""}
    with OnTerminal(["/bin/bash", "--norc", "--noediting", "-i"], env) as terminal:
        terminal.expect(b"local> ")
        terminal.type(b"stty -g\r")
        before = terminal.expect(b"local> ").splitlines()[1]
        words = " ".join(argv) + " \"env PS1='ready$ ' HISTFILE= sh -i\"\r"
        terminal.type(words.encode())
        terminal.expect(b"\r\n")
        terminal.expect(PROMPT)
        terminal.type(b"\r~\x1a")
        terminal.expect(b"^Z [suspend qsh]")
        terminal.expect(b"local> ")
        terminal.type(b"stty -g\r")
        assert terminal.expect(b"local> ").splitlines()[1] == before
        terminal.type(b"fg\r")
        wait_until(lambda: is_raw(terminal), "raw mode again")
        terminal.type(b"echo $((40+2))\r")
        terminal.expect(b"42\r\n")
        terminal.type(b"exit 0\r")
        terminal.expect(b"local> ")
        terminal.type(b"exit\r")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_restore_the_terminal(server: LiveServer, number: int) -> None:
    with open_shell(server) as terminal:
        os.kill(client_of(terminal), number)
        ends(terminal, 255)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_terminal_is_restored_after_a_crash(server: LiveServer, number: int) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"echo up\r")
        terminal.expect(b"up\r\n")
        wait_until(lambda: _has_watcher(terminal), "the watcher")
        os.kill(client_of(terminal), number)
        terminal.expect(b"end ")
        before = terminal.before.strip().decode()  # type: ignore[attr-defined]
        flags = [int(field, 16) for field in before.split(":")[:4]]
        wait_until(lambda: terminal.modes()[:4] == flags, "terminal restored")


def _has_watcher(terminal: OnTerminal) -> bool:
    found = subprocess.run(
        ["ps", "-ww", "-o", "args=", "--ppid", str(client_of(terminal))],
        capture_output=True,
        text=True,
        check=False,
    )
    return "qsh-tty-watcher" in found.stdout


def test_full_screen_program(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"stty -echo raw; head -c 3 | od -An -tx1; stty sane\r")
        wait_until(lambda: is_raw(terminal))
        terminal.type(b"\x1b[A")
        terminal.expect(b"1b 5b 41")


def test_quiet_says_nothing(server: LiveServer) -> None:
    with open_shell(server, "-q") as terminal:
        terminal.type(b"exit 3\r")
        assert b"closed" not in ends(terminal, 3)
