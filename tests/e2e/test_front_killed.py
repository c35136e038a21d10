"""A front that is killed (-9) under clients that say nothing: they are told, and come back to what they had."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_resume_key import PROMPT, kill_front, logged, shell
from tests.support.live_server import LiveServer
from tests.support.procs import tree
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 15.0
"""Less than any keep-alive."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path, "DetachedMax 1h\nLogLevel VERBOSE")
    yield server
    server.stop()


def hosts(server: LiveServer) -> set[int]:
    return {pid for pid in tree(server.process.pid) if _name(pid) == "qshd-session"}


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_a_program_s_client_that_only_listens_ends(server: LiveServer) -> None:
    with subprocess.Popen(
        server.command("echo begun; cat"),
        env=server.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as client:  # fmt: skip
        assert client.stdout is not None
        assert client.stdout.readline() == b"begun\n"
        kill_front(server)
        assert client.wait(LIMIT_S) == 255


def test_terminals_that_only_listen_come_back_to_their_own_hosts(server: LiveServer) -> None:
    with shell(server) as first, shell(server) as second:
        for terminal in (first, second):
            terminal.expect(PROMPT)
        before = hosts(server)
        assert len(before) == 2
        for times in (2, 4):
            kill_front(server)
            wait_until(
                lambda times=times: logged(server, "Accepted resume") == times,  # type: ignore[misc]
                "both are back without a key",
                LIMIT_S,
            )
        for terminal in (first, second):
            terminal.type(b"echo $((40+2))x\r")
            terminal.expect(b"42x")
        assert hosts(server) == before, "no process more, none less"
        for terminal in (first, second):
            terminal.type(b"exit 7\r")
            assert terminal.wait() == 7
        wait_until(lambda: not hosts(server), "the end of both")
        for name in (1, 2):
            wait_until(lambda name=name: logged(server, f"Session {name} of") == 1, "told once")  # type: ignore[misc]


def test_other_rights_need_another_host(server: LiveServer) -> None:
    """The key's options have changed meanwhile: the old host goes on with its terminal, and does nothing else for this login."""
    with shell(server) as terminal:
        terminal.expect(PROMPT)
        before = hosts(server)
        keys = server.home / "authorized_keys"
        keys.write_text(f"no-port-forwarding {keys.read_text()}")
        kill_front(server)
        wait_until(lambda: logged(server, "Accepted resume") == 1, "it is back", LIMIT_S)
        terminal.type(b"echo $((40+2))x\r")
        terminal.expect(b"42x")
        assert before < hosts(server)
