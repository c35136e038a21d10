"""Coming back to a terminal of another user's, with a qshd as root (docs/protocol.md 5.6)."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.procs import PROMPT, Daemon, Files, LoginUser, tree
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root


@pytest.fixture
def user() -> Iterator[LoginUser]:
    with LoginUser() as user:
        yield user


@pytest.fixture
def files(user: LoginUser) -> Iterator[Files]:
    with Files(user.name, server="DetachedMax 1h\n") as files:
        yield files


def logged(daemon: Daemon, text: str) -> int:
    return sum(text in line for line in daemon.log)


def stop_but_sessions(daemon: Daemon) -> None:
    """Kill all of it that is not its users'."""
    for pid in tree(daemon.process.pid):
        if Path(f"/proc/{pid}/comm").read_text().strip() in (
            "qshd-front",
            "qshd-sign",
            "qshd-spawner",
        ):
            os.kill(pid, signal.SIGKILL)
    daemon.process.kill()
    daemon.process.wait()


@pytest.mark.parametrize("allowed", [True, False])
def test_after_a_restart(user: LoginUser, files: Files, allowed: bool) -> None:
    """The monitor of the new qshd knows the record of the old one's, and asks the session host as its user."""
    with Daemon.qshd(files) as first:
        words = files.qsh("127.0.0.1", first.port, options=("-t",))
        with OnTerminal(words, files.env) as terminal:
            terminal.expect(PROMPT.encode())
            stop_but_sessions(first)
            if not allowed:
                with (files.home / "qshd_config").open("a") as config:
                    config.write(f"DenyUsers {files.user}@127.0.0.1\n")
            with Daemon.qshd(files, options=("-p", str(first.port))) as second:
                if allowed:
                    terminal.type(b"echo $((40+2))x\r")
                    terminal.expect(b"42x")
                    assert logged(second, f"Accepted resume for {files.user}") == 1
                    assert logged(second, "Accepted publickey") == 0
                    terminal.type(b"exit 7\r")
                    assert terminal.wait() == 7
                else:
                    assert terminal.wait() == 255
                    wait_until(lambda: logged(second, "Failed resume for") == 1, "a refusal")
                    assert user.pids(), "the session is kept"
        for pid in user.pids():  # they hold what the first one wrote its log to
            os.kill(pid, signal.SIGKILL)
