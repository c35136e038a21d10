"""Sessions that outlive their connection and their client, with a real qshd on a real pseudo-terminal."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.terminal import OnTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPT = b"ready$ "
SESSION = re.compile(rb"\[detached from session (\S+) on \S+; qshctl attach ")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


def open_shell(server: LiveServer, *options: str) -> OnTerminal:
    argv = server.command("env PS1='ready$ ' HISTFILE= sh -i", options=("-t", *options))
    terminal = OnTerminal(argv, {**server.env, "TERM": "xterm-256color"})
    terminal.expect(PROMPT)
    return terminal


def test_detaching_says_how_to_come_back(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"\r")
        terminal.expect(PROMPT)
        terminal.type(b"~d")
        assert terminal.wait() == 0
        assert SESSION.search(terminal.output)


def test_the_exit_status_is_told(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"exit 23\r")
        assert terminal.wait() == 23


def test_a_dead_network_is_told_and_keys_are_delivered_once(
    server: LiveServer, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    with open_shell(server, "-o", "QshPrediction=never") as terminal:
        server.pause()
        try:
            terminal.type(b"echo $((40+2)) | tee -a %b\r" % os.fsencode(told))
            terminal.expect(b"no contact for")
        finally:
            server.resume()
        terminal.expect(b"42\r\n")
        terminal.expect(PROMPT.rstrip())  # a painting that takes the notice away leaves out blanks
        assert told.read_text() == "42\n", "a painting may show it again, but it was typed once"
        terminal.type(b"exit 3\r")
        assert terminal.wait() == 3


def test_a_closed_window_may_detach(server: LiveServer) -> None:
    with open_shell(server, "-o", "QshOnHangup=detach") as terminal:
        os.kill(terminal.pid, signal.SIGHUP)
        assert terminal.wait() == 0
        assert SESSION.search(terminal.output)
