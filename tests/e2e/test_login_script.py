"""~/.ssh/rc, and the file that SSH_USER_AUTH names, of sessions of a real qshd, beside what sshd says of the same."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import PLAIN_SHELL, LiveServer

if TYPE_CHECKING:
    from pathlib import Path

HOME = pwd.getpwuid(os.getuid()).pw_dir


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    running = LiveServer(tmp_path, f"{PLAIN_SHELL}\n{getattr(request, 'param', '')}")
    yield running
    running.stop()


@pytest.mark.parametrize("server", ["ExposeAuthInfo yes"], indirect=True)
def test_what_let_the_user_in(server: LiveServer) -> None:
    done = server.run("echo $SSH_USER_AUTH; stat -c %a $SSH_USER_AUTH; cat $SSH_USER_AUTH")
    path, mode, text = done.stdout.decode().splitlines()
    kind, blob, *_ = server.user_key.line().split()
    assert text == f"publickey {kind} {blob}"
    assert mode == "600"
    server.stop()
    assert not os.path.exists(path)
    server.start()


def test_nothing_is_exposed_by_default(server: LiveServer) -> None:
    assert server.run("echo $SSH_USER_AUTH").stdout == b"\n"
