"""The agent and the display of a shared connection: the master's, for the clients that ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.agent import SshAgent
from tests.support.live_server import LiveServer
from tests.support.sharing import Shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORWARD = ("-o", "IdentityAgent=SSH_AUTH_SOCK", "-A")
PLAIN = ("-o", "IdentityAgent=SSH_AUTH_SOCK", "-a")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


@pytest.fixture
def shared(server: LiveServer, tmp_path: Path) -> Iterator[Shared]:
    shared = Shared(server, tmp_path)
    yield shared
    shared.ask("exit")


def test_each_client_says_whether_its_programs_may_call_the_agent(
    shared: Shared, tmp_path: Path
) -> None:
    with SshAgent(tmp_path) as agent:
        for _ in range(2):  # with the login, and over its connection
            done = shared.run("ssh-add -L", more=FORWARD, env=agent.env)
            found = done.stdout.decode().strip()
            assert (found, done.returncode) == (agent.public, 0), done.stderr
        done = shared.run("echo =$SSH_AUTH_SOCK", more=PLAIN, env=agent.env)
        assert done.stdout == b"=\n"


def test_a_master_that_forwards_no_agent_serves_none(shared: Shared, tmp_path: Path) -> None:
    with SshAgent(tmp_path) as agent:
        assert shared.run("true", more=PLAIN, env=agent.env).returncode == 0
        done = shared.run("echo =$SSH_AUTH_SOCK", more=FORWARD, env=agent.env)
        assert done.stdout == b"=\n"
