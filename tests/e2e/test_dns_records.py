"""Places of a host that SRV and SVCB records name, by a real resolver."""

from __future__ import annotations

import re
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.dns import svcb_value
from tests.support.netns import Network
from tests.support.procs import BIN, Daemon, Files, LoginUser

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.tool("dnsmasq")]

LIMIT_S = 60.0
ATTEMPT = re.compile(r"Connecting to \S+ \[(\S+)\] port (\d+)")
NOBODY = "10.77.2.99"
SVCB = 64


class Site:
    """A client whose resolver and /etc/hosts are its own; nobody listens on the server's port 22."""

    def __init__(self, network: Network, files: Files, daemon: Daemon) -> None:
        self.network, self.files, self.daemon = network, files, daemon
        self.resolver: subprocess.Popen[bytes] | None = None
        for name in ("hosts", "resolv.conf"):
            (files.home / name).touch()
        self.conf(network.server.ip4)

    def conf(self, *servers: str, more: str = "") -> None:
        text = "".join(f"nameserver {each}\n" for each in servers) + more
        (self.files.home / "resolv.conf").write_text(text)

    def serve(self, *words: str) -> None:
        """A resolver with these records."""
        self.stop()
        server = self.network.server
        command = ["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]
        command += ["--user=root", f"--listen-address={server.ip4}", "--bind-interfaces"]
        command += [f"--host-record=host.test,{server.ip4}", "--local=/test/", *words]
        self.resolver = server.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert self.resolver.stderr is not None
        assert b"started" in self.resolver.stderr.readline()

    def stop(self) -> None:
        if self.resolver is not None:
            self.resolver.kill()
            self.resolver.wait()
            assert self.resolver.stderr is not None
            self.resolver.stderr.close()
            self.resolver = None

    def run(self, host: str, *options: str) -> subprocess.CompletedProcess[str]:
        script = 'cd "$0" && mount --bind hosts /etc/hosts && mount --bind resolv.conf /etc/resolv.conf && exec "$@"'
        home = str(self.files.home)
        qsh = [str(BIN / "qsh"), "-F", f"{home}/qsh_config", "-v", *options, host, "echo", "in"]
        return self.network.client.run(
            ["unshare", "--mount", "sh", "-c", script, home, *qsh],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=self.files.env,
        )


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with LoginUser() as user, Files(user.name) as files, Network.link(delay_ms=5) as network:
        with Daemon.qshd(files, side=network.server) as daemon:
            yield Site(network, files, daemon)


@pytest.fixture
def site(place: Site) -> Iterator[Site]:
    yield place
    place.stop()
    place.conf(place.network.server.ip4)
    (place.files.home / "hosts").write_text("")


def attempts(done: subprocess.CompletedProcess[str]) -> list[tuple[str, int]]:
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    return [(host, int(port)) for host, port in ATTEMPT.findall(done.stderr)]


def svcb(
    priority: int, target: str, *parameters: tuple[int, bytes], owner: str = "_qsh.host.test"
) -> str:
    return f"--dns-rr={owner},{SVCB},{svcb_value(priority, target, parameters).hex()}"


def hint(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET, address)


def test_srv(site: Site) -> None:
    """The first priority leads nowhere, the second does; the host is still known by its name."""
    server, port = site.network.server, site.daemon.port
    site.serve(
        f"--host-record=nobody.test,{NOBODY}",
        f"--srv-host=_qsh._udp.host.test,nobody.test,{port},0,1",
        f"--srv-host=_qsh._udp.host.test,host.test,{port},1,1",
    )
    done = site.run("host.test")
    found = attempts(done)
    assert found.index((NOBODY, port)) < found.index((server.ip4, port))
    assert "record of host.test: nobody.test port" in done.stderr


@pytest.mark.parametrize("alias", [False, True])
def test_svcb(site: Site, alias: bool) -> None:
    """With a port and a hint, before SRV; and where an alias leads to it."""
    server, port = site.network.server, site.daemon.port
    owner = "elsewhere.test" if alias else "_qsh.host.test"
    first = [svcb(0, "elsewhere.test")] if alias else []
    parameters = ((1, b"\x05qsh/1"), (3, port.to_bytes(2, "big")), (4, hint(server.ip4)))
    wrong = f"--srv-host=_qsh._udp.host.test,host.test,{port + 1}"
    site.serve(*first, svcb(1, "unknown.test", *parameters, owner=owner), wrong)
    found = attempts(site.run("host.test"))
    assert (server.ip4, port) in found
    assert (server.ip4, port + 1) not in found


def test_a_name_that_has_only_records(site: Site) -> None:
    port = site.daemon.port
    site.serve(f"--srv-host=_qsh._udp.service.test,host.test,{port}")
    assert attempts(site.run("service.test")) == [(site.network.server.ip4, port)]


def test_a_search_domain(site: Site) -> None:
    port = site.daemon.port
    site.serve(f"--srv-host=_qsh._udp.host.test,host.test,{port}")
    site.conf(site.network.server.ip4, more="search test\n")
    assert (site.network.server.ip4, port) in attempts(site.run("host"))


def test_what_the_user_says_wins(site: Site) -> None:
    server, port = site.network.server, site.daemon.port
    site.serve(f"--srv-host=_qsh._udp.host.test,host.test,{port + 1}")
    typed = ("-p", str(port))
    assert attempts(site.run("host.test", *typed)) == [(server.ip4, port)]
    assert attempts(site.run("host.test", "-o", f"QshPort={port}")) == [(server.ip4, port)]
    (site.files.home / "hosts").write_text(f"{server.ip4} host.test\n")
    for more in ((), ("-o", "QshDns=no")):
        done = site.run("host.test", "-o", "ConnectTimeout=1", *more)
        assert done.returncode == 255
        assert ATTEMPT.findall(done.stderr)
        assert {each for _, each in ATTEMPT.findall(done.stderr)} == {"22"}
        (site.files.home / "hosts").write_text("")


def test_a_changed_key_is_one_wherever_records_lead(site: Site) -> None:
    """They choose a place; who is there must be the host that was named."""
    port = site.daemon.port
    site.serve(f"--srv-host=_qsh._udp.host.test,host.test,{port}")
    known = site.files.home / "other_known_hosts"
    key = (site.files.home / "id.pub").read_text().split()[:2]
    known.write_text(f"host.test {' '.join(key)}\n")
    done = site.run("host.test", "-o", f"UserKnownHostsFile={known}")
    assert done.returncode == 255
    assert "host.test" in done.stderr
    assert "HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_a_jump_host(site: Site) -> None:
    port = site.daemon.port
    site.serve(f"--srv-host=_qsh._udp.host.test,host.test,{port}")
    done = site.run("127.0.0.1", "-J", "host.test", "-o", f"QshPort={port}")
    assert (site.network.server.ip4, port) in attempts(done)


@pytest.mark.parametrize("servers", [(), ("10.77.2.98",)], ids=["none", "silent"])
def test_a_resolver_that_does_not_answer(site: Site, servers: tuple[str, ...]) -> None:
    """An address needs none."""
    server = site.network.server
    site.conf(*servers)
    done = site.run(server.ip4, "-o", f"QshPort={site.daemon.port}")
    assert attempts(done) == [(server.ip4, site.daemon.port)]
