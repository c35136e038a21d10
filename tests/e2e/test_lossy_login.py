"""A login on a path that loses packets: the client sends again by its own clock (docs/protocol.md 17.14)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.relay import Relay
from tests.support.watched import until

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 60.0
LOSSY = 0.29


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    found = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield found
    found.stop()


def copies(packets: list[bytes]) -> int:
    return len(packets) - len(set(packets))


def start(server: LiveServer, relay: Relay) -> subprocess.Popen[bytes]:
    command = relay.through(server.command("echo", "in"))
    return subprocess.Popen(
        command, env=server.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )


def is_in(client: subprocess.Popen[bytes]) -> bool:
    out, _ = client.communicate(timeout=LIMIT_S)
    return (client.returncode, out) == (0, b"in\n")


def test_a_first_flight_that_was_lost(server: LiveServer) -> None:
    """It comes again, byte by byte, and then everything comes twice: both ways."""
    with Relay(server.port, delay_ms=5) as relay:
        relay.keep()
        relay.cut = True
        client = start(server, relay)
        until(lambda: copies(relay.sent) >= 2)
        relay.cut = False
        assert is_in(client)
        assert copies(relay.got) >= 2


def test_without_loss_nothing_is_sent_twice(server: LiveServer) -> None:
    """The control. The first login may find a host that is slower than expected."""
    with Relay(server.port, delay_ms=5) as relay:
        assert is_in(start(server, relay))
        relay.keep()
        assert is_in(start(server, relay))
        shorts = [packet for packet in relay.got if not packet[0] & 0x80]
        assert shorts
        assert copies(shorts) == 0


@pytest.mark.parametrize("seed", range(4))
def test_logins_through_loss(server: LiveServer, seed: int) -> None:
    with Relay(server.port, delay_ms=10, seed=seed) as relay:
        relay.loss = LOSSY
        assert is_in(start(server, relay))
