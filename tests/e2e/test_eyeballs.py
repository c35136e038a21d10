"""A host of several addresses, of which some do not answer: the race, and what is remembered of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.netns import Network
from tests.support.procs import Daemon, Files, LoginUser

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = pytest.mark.root

LIMIT_S = 60.0
NOBODY = "fd77:2::dead"
"""Packets to it get lost: the server's side of the link has no such address."""
ATTEMPT = re.compile(r"Connecting to \S+ \[(\S+)\] port")


class Site:
    """A client whose /etc/hosts is its own, and a server that listens on IPv4 only."""

    def __init__(self, network: Network, files: Files, daemon: Daemon) -> None:
        self.network, self.files, self.daemon = network, files, daemon
        self.hosts = files.home / "hosts"

    def run(self, host: str) -> subprocess.CompletedProcess[str]:
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        qsh = self.files.qsh(host, self.daemon.port, "echo", "in", options=("-v",))
        return self.network.client.run(
            ["unshare", "--mount", "sh", "-c", script, str(self.hosts), *qsh],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=self.files.env,
        )

    def name(self, host: str, *addresses: str) -> None:
        self.hosts.write_text("".join(f"{address} {host}\n" for address in addresses))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with LoginUser() as user, Files(user.name) as files, Network.link(delay_ms=5) as network:
        listen = ("-o", f"ListenAddress={network.server.ip4}")
        with Daemon.qshd(files, side=network.server, options=listen) as daemon:
            yield Site(network, files, daemon)


def attempts(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    return ATTEMPT.findall(done.stderr)


@pytest.mark.parametrize("first", [NOBODY, "fd77:2::1"], ids=["silent", "closed port"])
def test_an_address_that_does_not_answer_and_the_winner_next_time(site: Site, first: str) -> None:
    host = "silent.test" if first == NOBODY else "closed.test"
    good = site.network.server.ip4
    site.name(host, first, good)
    assert attempts(site.run(host)) == [first, good]
    assert attempts(site.run(host))[0] == good, "the winner is tried first next time"


def test_what_is_remembered_is_a_hint(site: Site) -> None:
    """An address that the name no longer has is not tried, and one without an answer is not waited for."""
    good = site.network.server.ip4
    site.name("moved.test", good)
    assert attempts(site.run("moved.test")) == [good]
    site.name("moved.test", NOBODY, "10.77.2.9", good)
    assert attempts(site.run("moved.test"))[0] == good
    hosts = site.files.home / "state" / "qsh" / "hosts"
    state = max(hosts.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    state.write_text(state.read_text().replace(good, "10.77.2.9"))
    assert attempts(site.run("moved.test"))[:2] == ["10.77.2.9", NOBODY]


def test_an_unreachable_family_costs_nothing(site: Site) -> None:
    """An address without a route fails before a packet is sent."""
    good = site.network.server.ip4
    site.name("far.test", "2001:db8::1", good)
    route = ("-6", "route", "del", "default")
    back = ("-6", "route", "add", "default", "dev", "wan0")
    site.network.client.run(["ip", *route], check=True)
    try:
        done = site.run("far.test")
    finally:
        site.network.client.run(["ip", *back], check=True)
    assert attempts(done) == [good], "getaddrinfo puts it last, and the other answers"
