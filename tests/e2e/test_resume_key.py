"""Terminals whose connection is lost, and clients that may come back without the login's key (docs/protocol.md 5.6)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.agent import SshAgent
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.procs import tree
from tests.support.sharing import Shared
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROMPT = b"ready$ "
ONLY_AGENT = (
    *("-o", "IdentityAgent=SSH_AUTH_SOCK", "-o", "IdentitiesOnly=no"),
    *("-o", "IdentityFile=none"),
)
OLD_S = 1.2
"""A front that ends younger than a second is not replaced."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    folder = tmp_path / "qshd"
    folder.mkdir()
    server = LiveServer(folder, f"DetachedMax 1h\n{PLAIN_SHELL}")
    groups = [server.process.pid]
    yield server
    groups.append(server.process.pid)
    server.stop()
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def process_of(server: LiveServer, name: str) -> int | None:
    for pid in tree(server.process.pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                return pid
    return None


def kill_front(server: LiveServer) -> None:
    pid = process_of(server, "qshd-front")
    assert pid is not None
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    born_s = ticks / os.sysconf("SC_CLK_TCK")
    wait_until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) - born_s > OLD_S, "an old front")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: process_of(server, "qshd-front") not in (None, pid), "another front")


def restart(server: LiveServer) -> None:
    """Front, monitor and spawner are killed at once; what is left is the sessions."""
    names = ("qshd-front", "qshd-spawner")
    for pid in (server.process.pid, *(process_of(server, name) for name in names)):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
    server.forget()
    server.start()


def logged(server: LiveServer, text: str) -> int:
    return sum(text in line for line in server.log)


def shell(server: LiveServer, *options: str, env: dict[str, str] | None = None) -> OnTerminal:
    argv = server.command("env PS1='ready$ ' HISTFILE= sh -i", options=("-t", *options))
    environment = {**server.env, "TERM": "xterm-256color", **(env or {})}
    return OnTerminal([argv[0], *argv[1:]], environment)


def comes_back(
    server: LiveServer, terminal: OnTerminal, how: str = "resume", times: int = 1
) -> None:
    terminal.type(b"echo $((40+2))x\r")
    terminal.expect(b"42x")
    wait_until(lambda: logged(server, f"Accepted {how} for") == times, f"Accepted {how}")


@pytest.mark.parametrize("lose", [kill_front, restart])
def test_it_comes_back_with_its_own_key(
    server: LiveServer, lose: Callable[[LiveServer], None]
) -> None:
    with shell(server) as terminal:
        terminal.expect(PROMPT)
        assert logged(server, "Accepted publickey for") == 1
        for times in (1, 2):
            lose(server)
            comes_back(server, terminal, times=times)
        assert logged(server, "Accepted publickey for") == 1
        terminal.type(b"\rexit 7\r")
        assert terminal.wait() == 7


def test_its_agent_is_gone(server: LiveServer, tmp_path: Path) -> None:
    with SshAgent(tmp_path) as agent:
        (server.home / "authorized_keys").write_text(agent.public + "\n")
        terminal = shell(server, *ONLY_AGENT, env=agent.env)
        terminal.expect(PROMPT)
    with terminal:
        kill_front(server)
        comes_back(server, terminal)


def test_nobody_is_asked_for_a_passphrase_again(server: LiveServer, tmp_path: Path) -> None:
    """Not even when the key's file is gone."""
    key = tmp_path / "sealed"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", key], check=True
    )
    (server.home / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    with shell(server, "-o", f"IdentityFile={key}") as terminal:
        terminal.expect(b"passphrase")
        terminal.type(b"open sesame\r")
        terminal.expect(PROMPT)
        key.unlink()
        kill_front(server)
        comes_back(server, terminal)
        assert b"passphrase" not in terminal.output


def test_without_it_the_login_s_key_serves(server: LiveServer) -> None:
    server.extra += "\nResume no"
    server.process.terminate()
    server.process.wait()
    server.forget()
    server.start()
    with shell(server) as terminal:
        terminal.expect(PROMPT)
        kill_front(server)
        comes_back(server, terminal, "publickey", 2)
        assert logged(server, " resume for") == 0


def test_where_it_is_refused_the_login_s_key_serves(server: LiveServer) -> None:
    """With that the client gets another record."""
    with shell(server) as terminal:
        terminal.expect(PROMPT)
        extra = server.extra
        server.extra += "\nResume no"
        restart(server)
        comes_back(server, terminal, "publickey", 2)
        assert logged(server, "Failed resume for") == 1
        server.extra = extra
        restart(server)
        comes_back(server, terminal, "publickey", 3)
        restart(server)
        comes_back(server, terminal)
        assert logged(server, "Failed resume for") == 1


def test_who_is_taken_out_of_authorized_keys_does_not_come_back(server: LiveServer) -> None:
    with shell(server) as terminal:
        terminal.expect(PROMPT)
        (server.home / "authorized_keys").write_text("")
        kill_front(server)
        assert terminal.wait() == 255
        assert re.search(rb"Permission denied \(publickey\)", terminal.output), terminal.output
        assert logged(server, "Failed resume for") == 1
        assert logged(server, "Failed publickey for") == 1


def test_a_shared_connection_comes_back_for_its_terminals(
    server: LiveServer, tmp_path: Path
) -> None:
    with SshAgent(tmp_path) as agent:
        (server.home / "authorized_keys").write_text(agent.public + "\n")
        shared = Shared(server, tmp_path)
        options = shared.options(*ONLY_AGENT, persist="no")
        terminal = shell(server, *options, env=agent.env)
        terminal.expect(PROMPT)
    with terminal:
        kill_front(server)
        comes_back(server, terminal)
        done = shared.run("echo another")
        assert (done.stdout, done.returncode) == (b"another\n", 0), done.stderr
