"""Clients that move to an address from which their login is not permitted (docs/protocol.md 5.9)."""

from __future__ import annotations

import getpass
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.relay import Relay
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPT = b"ready$ "


RULES = f"""\
DetachedMax 1h
{PLAIN_SHELL}
DenyUsers {getpass.getuser()}@127.0.0.3
Match Address 127.0.0.4
AllowTcpForwarding no
Match Address 127.0.0.99"""
"""The last line is for what the server's configuration goes on with."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    folder = tmp_path / "qshd"
    folder.mkdir()
    server = LiveServer(folder, RULES)
    yield server
    server.stop()


@pytest.fixture
def relay(server: LiveServer) -> Iterator[Relay]:
    with Relay(server.port) as relay:
        yield relay


def logged(server: LiveServer, text: str) -> int:
    return sum(text in line for line in server.log)


def shell(server: LiveServer, relay: Relay) -> OnTerminal:
    argv = server.command("env PS1='ready$ ' HISTFILE= sh -i", options=("-t",))
    terminal = OnTerminal(relay.through(argv), {**server.env, "TERM": "xterm-256color"})
    terminal.expect(PROMPT)
    return terminal


def test_where_it_may_be_it_stays(server: LiveServer, relay: Relay) -> None:
    with shell(server, relay) as terminal:
        relay.move("127.0.0.2")
        terminal.type(b"echo $((40+2))x\r")
        terminal.expect(b"42x")
        wait_until(lambda: logged(server, "qsh: moved to 127.0.0.2"), "a line in the log")
        terminal.type(b"exit 7\r")
        assert terminal.wait() == 7
    assert logged(server, "Accepted ") == 1
    assert logged(server, "Refused ") == 0


def test_where_it_may_not_be_the_connection_ends_and_the_session_is_kept(
    server: LiveServer, relay: Relay
) -> None:
    with shell(server, relay) as terminal:
        relay.move("127.0.0.3")
        terminal.type(b"echo $((40+2))x\r")
        terminal.expect(b"42x")
        assert terminal.wait() == 255
        assert b"does not take this login from the address" in terminal.output
    (line,) = [line for line in server.log if "Refused" in line]
    assert f"Refused {server.user} from 127.0.0.1 port " in line
    assert "moved to 127.0.0.3 port " in line
    assert "DenyUsers" in line
    assert logged(server, "Accepted ") == 1, "it does not try again"
    assert logged(server, "Failed ") == 0
    words = ("-F", f"{server.home}/config", "-p", str(server.port), server.target)
    argv = [sys.executable, "-m", "qsh.cli.control", "sessions", *words]
    done = subprocess.run(argv, capture_output=True, env=server.env, check=False)
    assert b"detached" in done.stdout, (done.stdout, done.stderr)


def test_where_other_rules_hold_it_logs_in_again(server: LiveServer, relay: Relay) -> None:
    with shell(server, relay) as terminal:
        relay.move("127.0.0.4")
        terminal.type(b"echo $((40+2))x\r")
        terminal.expect(b"42x")
        wait_until(lambda: logged(server, "Accepted resume"), "another login")
        terminal.type(b"echo $((40+3))x\r")
        terminal.expect(b"43x")
        terminal.type(b"exit 7\r")
        assert terminal.wait() == 7
    assert logged(server, ": other rules hold there") == 1
    assert any("Accepted resume" in line and "127.0.0.4" in line for line in server.log)


def test_a_command_ends_too(server: LiveServer, relay: Relay) -> None:
    with OnTerminal(relay.through(server.command("echo here; cat")), server.env) as terminal:
        terminal.expect(b"here")
        relay.move("127.0.0.3")
        terminal.type(b"x\r")
        assert terminal.wait() == 255
    assert logged(server, "Refused ") == 1
