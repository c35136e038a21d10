"""Paths as bad as those of the QUIC interop runner: long, lossy, with holes, and with NATs that forget. All arrives whole."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.netns import Network
from tests.support.procs import Daemon, Files, LoginUser
from tests.support.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

LIMIT_S = 90.0


@pytest.fixture(scope="module")
def files() -> Iterator[Files]:
    with LoginUser() as user, Files(user.name) as found:
        yield found


def run(
    files: Files, network: Network, daemon: Daemon, command: str, data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    done = network.client.run(
        files.qsh(network.server.ip4, daemon.port, "-o", "ConnectTimeout=60", command),
        input=data,
        capture_output=True,
        timeout=LIMIT_S,
        env=files.env,
    )
    assert done.returncode == 0, done.stderr
    return done  # type: ignore[no-any-return]


@contextlib.contextmanager
def now_and_then(action: Callable[[], None], every_s: float) -> Iterator[None]:
    """``action`` in a thread, again and again until the block ends."""
    over = threading.Event()

    def act() -> None:
        while not over.wait(every_s):
            action()

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.root
def test_a_long_path(files: Files) -> None:
    """750 ms there and back, as by satellite."""
    data = hashlib.shake_256(b"long").digest(1 << 20)
    with (
        Network.link(delay_ms=375) as network,
        Daemon.qshd(files, side=network.server) as daemon,
    ):
        done = run(files, network, daemon, "cat", data)
        assert digest(done.stdout) == digest(data)


@pytest.mark.root
def test_logins_through_heavy_loss(files: Files) -> None:
    """30 % of all packets are lost either way."""
    with (
        Network.link(delay_ms=15, loss=0.3, seed=7) as network,
        Daemon.qshd(files, side=network.server) as daemon,
    ):
        for number in range(12):
            done = run(files, network, daemon, f"echo {number}")
            assert done.stdout == b"%d\n" % number
        assert network.counters()["up"]["lost"] > 0


@pytest.mark.root
def test_holes(files: Files) -> None:
    """Five seconds of a path, two of none."""
    data = hashlib.shake_256(b"holes").digest(10 << 20)
    with (
        Network.link(delay_ms=15, rate_mbit=10, queue=100_000) as network,
        Daemon.qshd(files, side=network.server) as daemon,
    ):
        holes = [0]

        def hole() -> None:
            network.set(cut=True)
            time.sleep(2)
            network.set(cut=False)
            holes[0] += 1

        with now_and_then(hole, 5):
            done = run(files, network, daemon, "sha256sum", data)
        assert done.stdout.decode().split()[0] == digest(data)
        assert holes[0] >= 1


def test_a_nat_that_forgets(tmp_path: Path) -> None:
    """The client's port changes every second and neither side is told, in a transfer both ways."""
    server = LiveServer(tmp_path)
    try:
        with Relay(server.port, delay_ms=10) as relay, now_and_then(relay.move, 1):
            client = subprocess.Popen(
                relay.through(server.command("cat")),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=server.env,
            )
            assert client.stdin is not None
            assert client.stdout is not None
            number = 0
            while relay.moved < 6:
                chunk = hashlib.shake_256(b"%d" % number).digest(10_000)
                number += 1
                client.stdin.write(chunk)
                client.stdin.flush()
                assert client.stdout.read(len(chunk)) == chunk
            rest, _ = client.communicate(timeout=LIMIT_S)
            assert (rest, client.returncode) == (b"", 0)
    finally:
        server.stop()
