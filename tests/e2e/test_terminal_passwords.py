"""The password that su and sudo ask an ordinary user for is never drawn, typed at the prompt or ahead of it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.relay import Relay
from tests.support.typist import Typist
from tests.support.users import temporary_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.users import User

pytestmark = [pytest.mark.root, pytest.mark.tool("su"), pytest.mark.tool("sudo")]

PASSWORD = b"QXZJVKQZXJ"
"""These letters occur nowhere else."""
AHEAD_S = 0.06
"""Before that the kernel itself may still echo, as it does under ssh."""


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """May use sudo, with the password."""
    with tempfile.TemporaryDirectory(dir="/home") as homes:
        os.chmod(homes, 0o755)
        with temporary_user(Path(homes)) as found:
            line = f"{found.name}:".encode() + PASSWORD
            subprocess.run(["chpasswd"], input=line, check=True)
            rule = Path(f"/etc/sudoers.d/{found.name}")
            rule.write_text(f"Defaults:{found.name} !lecture\n{found.name} ALL=(ALL) ALL\n")
            try:
                yield found
            finally:
                rule.unlink()


@pytest.fixture(scope="module")
def server(user: User) -> Iterator[LiveServer]:
    home = user.home.parent / "qshd"  # where the user can read the list of keys
    home.mkdir(mode=0o755)
    server = LiveServer(home, extra=PLAIN_SHELL)
    server.user = user.name
    yield server
    server.stop()


@pytest.fixture(scope="module", params=[50, 150, 400])
def relay(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[Relay]:
    with Relay(server.port, delay_ms=request.param / 2) as found:
        yield found


def test_no_letter_of_a_password_is_drawn(server: LiveServer, relay: Relay, user: User) -> None:
    typist = Typist(server, relay)
    asks = (f"su {user.name} -c 'echo got-$((6*7))'", "sudo -k sh -c 'echo got-$((6*7))'")
    with typist.terminal as terminal:
        typist.settle_in()
        for ask in asks:
            for ahead in (False, True):
                typist.type(ask.encode() + b"\r")
                if ahead:
                    terminal.read_on(0.0)
                    time.sleep(relay.delay_ms / 1000 + AHEAD_S)
                else:
                    typist.expect(b"assword")
                    typist.expect(b": ")
                typist.type(PASSWORD + b"\r")
                typist.expect(b"got-42\r\n")
                typist.await_prompt()
        assert not typist.has_seen(PASSWORD)
