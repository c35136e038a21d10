"""The path's MTU: found upwards from 1200, and found again when it shrinks and nobody says so (RFC 8899)."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.netns import JUMBO, Network
from tests.support.procs import Daemon, Files, LoginUser

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

LIMIT_S = 60.0
CHUNK = 1 << 16
IP6_AND_UDP = 48


@pytest.fixture(scope="module")
def files() -> Iterator[Files]:
    with LoginUser() as user, Files(user.name) as found:
        yield found


class Copy:
    """``cat`` on the other host: what goes in must come out."""

    def __init__(self, files: Files, network: Network, daemon: Daemon, host: str) -> None:
        self.process = network.client.popen(
            files.qsh(host, daemon.port, "cat"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=files.env,
        )
        self.sent, self.number = hashlib.sha256(), 0

    def round_trips(self, count: int) -> None:
        """One chunk after the other, each there and back before the next."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        for _ in range(count):
            chunk = hashlib.shake_256(b"%d" % self.number).digest(CHUNK)
            self.number += 1
            stdin.write(chunk)
            stdin.flush()
            assert stdout.read(CHUNK) == chunk

    def end(self) -> None:
        rest, _ = self.process.communicate(timeout=LIMIT_S)
        assert rest == b""
        assert self.process.returncode == 0


def largest(network: Network) -> int:
    """The largest packet that came through so far, either way."""
    return max(way["largest"] for way in network.counters().values())


@pytest.mark.parametrize("family", ["ip4", "ip6"])
@pytest.mark.parametrize("mtu", [1280, 1400, JUMBO])
def test_it_is_found(files: Files, mtu: int, family: str) -> None:
    """The hosts believe in jumbo frames; the path takes less, and says nothing."""
    with (
        Network.link(mtu=JUMBO, delay_ms=5) as network,
        Daemon.qshd(files, side=network.server) as daemon,
    ):
        network.set(mtu=mtu)
        copy = Copy(files, network, daemon, getattr(network.server, family))
        copy.round_trips(40)
        copy.end()
        found = largest(network)
        assert found <= mtu
        assert found >= mtu - max(64, mtu // 64), "the search ends close to what the path takes"


@pytest.mark.parametrize("family", ["ip4", "ip6"])
def test_it_shrinks_in_mid_transfer(files: Files, family: str) -> None:
    with (
        Network.link(mtu=JUMBO, delay_ms=5) as network,
        Daemon.qshd(files, side=network.server) as daemon,
    ):
        copy = Copy(files, network, daemon, getattr(network.server, family))
        copy.round_trips(40)
        assert largest(network) > 8000
        for mtu in (1500, 1280):
            network.set(mtu=mtu)
            copy.round_trips(20)
            lost = [way["too_big"] for way in network.counters().values()]
            assert all(lost), "both sides believed in more"
        copy.end()
