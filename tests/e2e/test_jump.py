"""Jump hosts: ``-J``, ProxyJump, and a ProxyCommand that is qsh; with real servers, one behind the other."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 30.0


class Route:
    """Hosts by the names ``one``, ``two`` … and a configuration that knows them."""

    def __init__(self, home: Path, *servers: LiveServer) -> None:
        self.home, self.servers = home, servers
        lines = []
        for name, server in zip(("one", "two", "three"), servers, strict=False):
            lines.append(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n"
                f"  HostKeyAlias {name}\n  IdentityFile {server.home}/id\n"
            )
        known = [
            f"{name} {server.host_key.line()}\n"
            for name, server in zip(("one", "two", "three"), servers, strict=False)
        ]
        self.known = home / "known"
        self.known.write_text("".join(known))
        self.config = home / "route"
        self.config.write_text(
            "".join(lines)
            + "Host nobody\n  HostName 127.0.0.1\n  Port 1\n"
            + "Host *\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            + f"  UserKnownHostsFile {self.known}\n  GlobalKnownHostsFile none\n"
            + "  StrictHostKeyChecking yes\n  QshFallback no\n"
        )

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "qsh.cli.client", "-F", str(self.config), *words]

    def run(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.argv(*words),
            input=stdin,
            capture_output=True,
            timeout=LIMIT_S,
            env=self.servers[0].env,
            check=False,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def route(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    servers = [LiveServer(tmp_path_factory.mktemp(f"qshd{number}")) for number in range(3)]
    yield Route(tmp_path_factory.mktemp("client"), *servers)
    for server in servers:
        server.stop()


def with_hop(tmp_path: Path, route: Route, extra: str) -> tuple[Route, LiveServer]:
    """The hop has a configuration of its own."""
    home = tmp_path / "qshd"
    home.mkdir()
    hop = LiveServer(home, extra)
    return Route(tmp_path, hop, route.servers[1]), hop


# -- it works ------------------------------------------------------------------------------------


def test_one_hop(route: Route) -> None:
    ran = route.run("-v", "-J", "one", "two", "cat; exit 7", stdin=b"input")
    assert (ran.returncode, ran.stdout) == (7, b"input")
    assert b"Authenticated to 127.0.0.1 (via proxy)" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_the_target_is_where_the_program_runs(route: Route) -> None:
    """And it sees the hop's address, not the client's."""
    ran = route.run("-J", "one", "two", "echo $SSH_CONNECTION")
    assert ran.stdout.split()[-1] == str(route.servers[1].port).encode()


def test_two_hops(route: Route) -> None:
    ran = route.run("-J", "one,two", "three", "echo far; exit 3")
    assert (ran.returncode, ran.stdout) == (3, b"far\n"), ran.stderr


def test_proxy_jump_of_the_configuration(route: Route, tmp_path: Path) -> None:
    """The hop of a hop comes from its own lines; -J takes the place of the target's."""
    config = tmp_path / "config"
    config.write_text(
        "Host three\n  ProxyJump two\nHost two\n  ProxyJump one\n" + route.config.read_text()
    )
    for words in (("three",), ("-J", "one", "three"), ("-o", "ProxyJump=none", "three")):
        ran = route.run("-F", str(config), *words, "echo there")
        assert (ran.returncode, ran.stdout) == (0, b"there\n"), (words, ran.stderr)


@pytest.mark.parametrize(
    "command", ["qsh -F {config} -W %h:%p one", "exec '/usr/bin/qsh' -F {config} -W [%h]:%p one"]
)
def test_a_proxy_command_that_is_qsh(route: Route, command: str) -> None:
    proxy = "ProxyCommand=" + command.format(config=route.config)
    ran = route.run("-o", proxy, "two", "echo there")
    assert (ran.returncode, ran.stdout) == (0, b"there\n"), ran.stderr


def test_bulk_both_ways(route: Route) -> None:
    data = os.urandom(3 << 20)
    ran = route.run("-J", "one", "two", "cat", stdin=data)
    assert ran.returncode == 0
    assert ran.stdout == data


def test_forwards_lead_from_the_target(route: Route) -> None:
    ran = route.run("-J", "one", "-W", f"127.0.0.1:{free_tcp()}", "two")
    assert ran.returncode == 255
    assert b"Connection refused" in ran.stderr


def free_tcp() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_the_servers_hear_of_the_end(route: Route) -> None:
    counts = [len([line for line in s.log if "Disconnected" in line]) for s in route.servers[:2]]
    assert route.run("-J", "one", "two", "true").returncode == 0
    for server, count in zip(route.servers, counts, strict=False):
        wait_until(
            lambda server=server, count=count: (
                len([line for line in server.log if "Disconnected" in line]) > count
            )
        )


# -- it does not ---------------------------------------------------------------------------------


def failed(ran: subprocess.CompletedProcess[bytes], *texts: bytes) -> None:
    assert ran.returncode == 255, ran.stderr
    assert b"Traceback" not in ran.stderr
    assert b"internal error" not in ran.stderr
    for text in texts:
        assert text in ran.stderr, ran.stderr


def test_a_hop_that_is_not_there(route: Route) -> None:
    failed(route.run("-o", "ConnectTimeout=5", "-J", "nobody", "two", "true"), b"127.0.0.1")


def test_a_hop_whose_name_is_none(route: Route) -> None:
    failed(
        route.run("-J", "nonesuch.invalid", "two"), b"Could not resolve hostname nonesuch.invalid"
    )


def test_a_target_that_is_not_there(route: Route) -> None:
    failed(route.run("-J", "one", "nobody", "true"), b"Connection refused")


def test_a_target_whose_name_is_none(route: Route) -> None:
    failed(
        route.run("-J", "one", "nonesuch.invalid", "true"),
        b"channel 0: open failed: connect failed: ",
    )


def test_a_target_that_is_silent(route: Route) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])
        ran = route.run("-o", "ConnectTimeout=2", "-p", port, "-J", "one", "127.0.0.1", "true")
        failed(ran, b"Connection timed out")


@pytest.mark.parametrize(
    "extra", ["AllowTcpForwarding no", "DisableForwarding yes", "PermitOpen other:1"]
)
def test_a_hop_that_forbids_it(route: Route, tmp_path: Path, extra: str) -> None:
    own, hop = with_hop(tmp_path, route, extra)
    try:
        ran = own.run("-J", "one", "two", "true")
        failed(ran, b"channel 0: open failed: administratively prohibited: open failed")
    finally:
        hop.stop()


def test_keys_that_have_changed(route: Route, tmp_path: Path) -> None:
    for name in ("one", "two"):
        other = route.servers[2].host_key.line()
        lines = route.known.read_text().splitlines()
        known = tmp_path / "known"
        known.write_text(
            "\n".join(f"{name} {other}" if line.split()[0] == name else line for line in lines)
            + "\n"
        )
        config = tmp_path / "config"
        config.write_text(route.config.read_text().replace(str(route.known), str(known)))
        ran = route.run("-F", str(config), "-J", "one", "two", "true")
        failed(ran, b"REMOTE HOST IDENTIFICATION HAS CHANGED", f"Host key for {name} has".encode())


def test_a_hop_that_does_not_let_us_in(route: Route, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(route.config.read_text().replace(f"{route.servers[0].home}/id", "/nonesuch"))
    ran = route.run("-F", str(config), "-J", "one", "two", "true")
    failed(ran, b"Permission denied (publickey)", b"one")


@pytest.mark.parametrize(
    "command",
    ["nc %h %p", "ssh -W %h:%p one", "qsh -W other:1 one", "qsh -W %h:%p one | tee /dev/null"],
)
def test_other_proxy_commands_are_refused(route: Route, command: str) -> None:
    failed(
        route.run("-o", f"ProxyCommand={command}", "two", "true"),
        b"ProxyCommand",
        b"use ssh for it",
    )


def test_hops_that_lead_to_each_other(route: Route, tmp_path: Path) -> None:
    config = tmp_path / "config"
    loop = "Host one\n  ProxyJump two\nHost two\n  ProxyJump one\n"
    config.write_text(loop + route.config.read_text())
    failed(route.run("-F", str(config), "-J", "one", "three", "true"), b"more than 8 jump hosts")


def test_a_target_that_only_speaks_ssh(route: Route, tmp_path: Path) -> None:
    """The whole command line goes to ssh, as without a hop."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text("#!/bin/sh\nexit 42\n")
    ssh.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as sshd:
        threading.Thread(target=greet, args=(sshd,), daemon=True).start()
        words = ("-o", "QshFallback=exec", "-p", str(sshd.getsockname()[1]), "-J", "one")
        argv = route.argv(*words, "127.0.0.1", "true")
        env = {**route.servers[0].env, "PATH": f"{ssh.parent}:{os.environ['PATH']}"}
        assert subprocess.run(argv, env=env, timeout=LIMIT_S, check=False).returncode == 42


def greet(sshd: socket.socket) -> None:
    sock, _ = sshd.accept()
    with sock, contextlib.suppress(OSError):
        sock.sendall(b"SSH-2.0-other\r\n")
        sock.recv(1)


# -- terminals -----------------------------------------------------------------------------------


def test_a_terminal_comes_back_when_the_hop_was_restarted(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("hop", "target", "client")]
    for home in homes:
        home.mkdir()
    hop, target = LiveServer(homes[0]), LiveServer(homes[1], "DetachedMax 1h")
    try:
        route = Route(homes[2], hop, target)
        argv = route.argv("-t", "-J", "one", "two", "env PS1='ready$ ' HISTFILE= sh -i")
        with OnTerminal(argv, {**hop.env, "TERM": "xterm-256color"}) as terminal:
            terminal.expect(b"ready$ ")
            terminal.type(b"x=kept\r")
            terminal.expect(b"ready$ ")
            hop.kill()
            hop.start()
            terminal.type(b"echo $x-on\r")
            terminal.expect(b"kept-on", 40.0)
            terminal.type(b"exit 5\r")
            assert terminal.wait() == 5
    finally:
        hop.stop()
        target.stop()
