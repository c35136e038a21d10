"""Ways that lead nowhere any more, and addresses that are not the client's: what runs goes on, and no byte is lost or doubled."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.relay import Relay
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT_S = 60.0
DATA = hashlib.shake_256(b"stale").digest(1 << 19)
CHUNK = 32768
"""Less than a pipe takes."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


@pytest.fixture
def relay(server: LiveServer) -> Iterator[Relay]:
    with Relay(server.port, delay_ms=10) as found:
        yield found


def exchange(server: LiveServer, relay: Relay, *between: Callable[[], None]) -> None:
    """Data goes to a program and comes back, part by part; between them something happens."""
    client = subprocess.Popen(
        relay.through(server.command("cat")),
        env=server.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    with client.stdin as stdin, client.stdout as stdout:
        for happens in (*between, stdin.close):
            back = b""
            for at in range(0, len(DATA), CHUNK):
                stdin.write(DATA[at : at + CHUNK])
                stdin.flush()
                back += stdout.read(CHUNK)
            assert back == DATA
            happens()
        assert not stdout.read()
    assert client.wait(LIMIT_S) == 0


def moves(server: LiveServer) -> int:
    return sum(" moved from " in line for line in server.log)


def test_a_nat_that_forgets_between_two_bytes_is_not_noticed(
    server: LiveServer, relay: Relay
) -> None:
    def forget() -> None:
        relay.move()
        wait_until(lambda: relay.moved > 0)

    exchange(server, relay, forget)


def test_a_fresh_port_gets_past_a_nat_that_holds_on_to_a_dead_way(
    server: LiveServer, relay: Relay
) -> None:
    exchange(server, relay, relay.jam)


def test_an_address_that_does_not_answer_is_not_moved_to(server: LiveServer, relay: Relay) -> None:
    before = moves(server)

    def until_three_have_come() -> None:
        wait_until(lambda: relay.forged >= 3)
        relay.forges = False

    honest = threading.Thread(target=until_three_have_come)

    def forge() -> None:
        relay.forges = True
        honest.start()

    def really_move() -> None:
        honest.join()
        assert relay.forged >= 3
        assert moves(server) == before
        relay.move()

    exchange(server, relay, forge, really_move, lambda: wait_until(lambda: moves(server) > before))
    assert moves(server) == before + 1
