"""What is typed to a prompt for a secret is never drawn, however slow the path and however early it is typed."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.relay import Relay
from tests.support.typist import Typist

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = b"QXZJVKQZXJ"
"""These letters occur nowhere else."""
GETPASS = f"{sys.executable} -c 'import getpass; print(len(getpass.getpass(\"code: \")))'"
AHEAD_S = 0.06
"""Before that the kernel itself may still echo, as it does under ssh."""
CASES = (
    (b"read -s -p 'code: ' x; echo ${#x}", b"code: "),
    (b"read -s -p 'code: ' x; echo ${#x}", None),
    (b"read -s x; echo ${#x}", None),
    (GETPASS.encode(), b"code: "),
)
"""A command, and the prompt that is waited for; None: typed ahead of it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), extra=PLAIN_SHELL)
    yield server
    server.stop()


@pytest.fixture(scope="module", params=[50, 150, 400])
def relay(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[Relay]:
    with Relay(server.port, delay_ms=request.param / 2) as found:
        yield found


@pytest.fixture
def typist(server: LiveServer, relay: Relay) -> Iterator[Typist]:
    found = Typist(server, relay)
    with found.terminal:
        found.settle_in()
        yield found


def test_no_letter_of_a_secret_is_drawn(typist: Typist) -> None:
    terminal = typist.terminal
    for command, prompt in CASES:
        typist.type(command + b"\r")
        if prompt is not None:
            typist.expect(command[-4:])
            typist.expect(prompt)
        else:
            terminal.read_on(0.0)
            time.sleep(AHEAD_S)
        typist.type(SECRET + b"\r")
        typist.expect(b"%d\r\n" % len(SECRET))
        typist.await_prompt()
    assert not typist.has_seen(SECRET)


def test_what_is_no_secret_is_drawn_at_once(typist: Typist, relay: Relay) -> None:
    """The control: the same typing at a prompt that echoes is drawn before the answer can be there."""
    began = time.monotonic()
    typist.type(b"abcdefgh")
    drawn = 0.0
    while b"d" not in typist.terminal.output.rpartition(b"ready")[2]:
        typist.terminal.read_on(0.005)
        assert time.monotonic() - began < 5
    drawn = time.monotonic() - began
    if relay.delay_ms >= 150:
        assert drawn < 2 * relay.delay_ms / 1000
