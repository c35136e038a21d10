"""Hosts without a qshd: ssh(1) takes over, or a message that helps (mixed fleets)."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from qsh.client import host_state
from tests.support.live_server import free_port
from tests.support.terminal import OnTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sshd() -> Iterator[int]:
    """A TCP port that greets as sshd does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer, contextlib.suppress(OSError):
                        peer.sendall(b"hello there\r\nSSH-2.0-OpenSSH_9.2\r\n")
                        peer.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture
def silent() -> Iterator[int]:
    """A UDP port that is open and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A PATH in which ``ssh`` prints its arguments."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text('#!/bin/sh\nprintf "<%s>" "$0" "$@"\nexit 42\n')
    ssh.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{ssh.parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "QSH_TRACEBACK": "1",
    }


def qsh(*words: str) -> list[str]:
    return [sys.executable, "-m", "qsh.cli.client", *words]


def run(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        qsh(*words), stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=20, check=False
    )


def test_closed_udp_port(env: dict[str, str], sshd: int) -> None:
    udp = free_port()
    done = run(
        env, "-F", "none", "-o", f"QshPort={udp}", "-p", str(sshd), "-oStrictHostKeyChecking=no",
        "127.0.0.1", "echo", "a b",
    )  # fmt: skip
    assert done.returncode == 42
    assert done.stderr == b""
    said = done.stdout.decode()
    assert "Qsh" not in said
    assert said.startswith(f"<ssh><-F><none><-p><{sshd}><-o><StrictHostKeyChecking=no>") or (
        f"<-p><{sshd}>" in said
    )
    assert said.endswith("<--><127.0.0.1><echo><a b>")


def test_silent_udp_port_with_a_line_on_a_terminal(
    env: dict[str, str], sshd: int, silent: int
) -> None:
    argv = qsh("-F", "none", "-o", f"QshPort={silent}", "-p", str(sshd), "127.0.0.1", "true")
    with OnTerminal(argv, env) as terminal:
        terminal.expect(f"no answer from 127.0.0.1 on UDP port {silent}".encode())
        terminal.expect(b"<127.0.0.1><true>")
        assert terminal.wait() == 42


def test_a_host_that_once_answered(
    env: dict[str, str], sshd: int, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", env["XDG_STATE_HOME"])
    host_state.save("u", "127.0.0.1", silent, host_state.HostState(1.0, answered=True))
    argv = qsh("-F", "none", "-o", f"QshPort={silent}", "-p", str(sshd), "u@127.0.0.1", "true")
    with OnTerminal(argv, env) as terminal:
        terminal.expect(f"127.0.0.1 has answered on UDP port {silent} before".encode())
        assert terminal.wait() == 42


def test_a_master_that_ssh_has_become_is_asked_by_ssh(env: dict[str, str], tmp_path: Path) -> None:
    """OpenSSH's regress/forward-control.sh: ``-M`` went to ssh, and so must ``-O``."""
    path = str(tmp_path / "cp")
    done = run(env, "-F", "none", "-S", path, "-O", "check", "host")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"No such file or directory" in done.stderr
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        done = run(env, "-F", "none", "-S", path, "-O", "check", "host")
        assert done.returncode == 42
        assert f"<-S><{path}><-O><check>".encode() in done.stdout
        done = run(env, "-F", "none", "-o", "QshFallback=no", "-S", path, "-O", "check", "host")
        assert done.returncode == 255


def test_no_fallback_wanted(env: dict[str, str], sshd: int) -> None:
    udp = free_port()
    done = run(
        env,
        "-F",
        "none",
        "-o",
        "QshFallback=no",
        "-o",
        f"QshPort={udp}",
        "-p",
        str(sshd),
        "127.0.0.1",
    )
    assert done.returncode == 255
    text = done.stderr.decode()
    assert f"qsh: connect to host 127.0.0.1 port {udp}: Connection refused" in text
    assert f"must let UDP port {udp} in" in text
    assert f"ssh answers there on TCP port {sshd}" in text


def test_nothing_there(env: dict[str, str]) -> None:
    port = free_port()
    done = run(env, "-F", "none", "-p", str(port), "127.0.0.1")
    assert done.returncode == 255
    text = done.stderr.decode()
    assert f"qsh: connect to host 127.0.0.1 port {port}: Connection refused" in text
    assert "Traceback" not in text


@pytest.fixture(params=["speaks first", "reads a line", "reads a request"])
def portal(request: pytest.FixtureRequest) -> Iterator[int]:
    """A TCP port at which a network says that one must log in on a web page."""
    until = {"speaks first": b"", "reads a line": b"\n", "reads a request": b"\r\n\r\n"}[
        request.param
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(peer: socket.socket) -> None:
            with peer, contextlib.suppress(OSError):
                read = b""
                while until not in read and (data := peer.recv(1000)):
                    read += data
                peer.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n<html>")
                peer.shutdown(socket.SHUT_WR)
                peer.recv(1000)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=listener.accept()[:1]).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize("more", [(), ("-o", "QshFallback=no")], ids=["", "no fallback"])
def test_a_captive_portal_where_ssh_should_be(
    env: dict[str, str], silent: int, portal: int, more: tuple[str, ...]
) -> None:
    """As where its addresses are those that every name has, too."""
    options = ("-o", f"QshPort={silent}", "-o", "ConnectTimeout=4", *more)
    done = run(env, "-F", "none", *options, "-p", str(portal), "127.0.0.1", "true")
    assert (done.returncode, done.stdout) == (255, b"")
    told = done.stderr.decode()
    assert f"TCP port {portal} answers with a web page (HTTP), not ssh: a captive portal?" in told
    assert "<html>" not in told


@pytest.mark.parametrize("option", ["QshTransport=ssh", "QshBootstrap=yes"])
def test_a_captive_portal_on_the_way_through_ssh(
    env: dict[str, str], portal: int, option: str
) -> None:
    options = ("-o", option, "-o", "ConnectTimeout=4", "-o", "QshFallback=no")
    done = run(env, "-F", "none", *options, "-p", str(portal), "127.0.0.1", "true")
    assert (done.returncode, done.stdout) == (255, b"")
    assert "a captive portal?" in done.stderr.decode()


def test_connect_timeout(env: dict[str, str], silent: int) -> None:
    done = run(
        env, "-F", "none", "-o", "ConnectTimeout=1", "-o", f"QshPort={silent}",
        "-p", str(free_port()), "127.0.0.1",
    )  # fmt: skip
    assert done.returncode == 255
    assert b"Connection timed out" in done.stderr


def test_unknown_name(env: dict[str, str]) -> None:
    done = run(env, "-F", "none", "nonesuch.invalid", "true")
    assert done.returncode == 255
    assert done.stderr.startswith(b"qsh: Could not resolve hostname nonesuch.invalid: ")


@pytest.mark.parametrize("option", ["-oProxyCommand=nc", "-oTunnel=yes"])
def test_proxies_go_to_ssh(env: dict[str, str], option: str) -> None:
    assert run(env, "-F", "none", option, "127.0.0.1", "true").returncode == 42
    done = run(env, "-F", "none", "-oQshFallback=no", option, "127.0.0.1", "true")
    assert done.returncode == 255
    assert b"over QUIC" in done.stderr


def test_a_jump_host_without_qshd(env: dict[str, str], sshd: int) -> None:
    done = run(env, "-F", "none", "-J", f"127.0.0.1:{sshd}", "nonesuch.invalid", "true")
    assert done.returncode == 42
    done = run(
        env, "-F", "none", "-oQshFallback=no", "-J", f"127.0.0.1:{sshd}", "nonesuch.invalid"
    )  # fmt: skip
    assert done.returncode == 255
    assert f"ssh answers there on TCP port {sshd}".encode() in done.stderr


def test_udp_forwards_do_not_go_to_ssh(env: dict[str, str], sshd: int) -> None:
    for option in (f"-oQshPort={free_port()}", "-oProxyCommand=nc"):
        done = run(
            env, "-F", "none", "-p", str(sshd), option, "-L", "udp/5:127.0.0.1:5", "127.0.0.1"
        )  # fmt: skip
        assert done.returncode == 255
        assert b"ssh cannot forward UDP" in done.stderr


def test_no_endless_circle(env: dict[str, str], tmp_path: Path) -> None:
    """An ``ssh`` that starts qsh again ends."""
    (tmp_path / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {" ".join(qsh())} "$@"\n')
    done = run(env, "-F", "none", "-oProxyCommand=nc", "127.0.0.1", "true")
    assert done.returncode == 255
    assert b"leads back to qsh" in done.stderr


def test_tunnels_are_refused_plainly(env: dict[str, str]) -> None:
    done = run(env, "-F", "none", "-oQshFallback=no", "-w0", "127.0.0.1")
    assert done.returncode == 255
    assert done.stderr.startswith(b"qsh: -w: ")
    assert b"use ssh for it" in done.stderr


def test_version_names_openssh(env: dict[str, str]) -> None:
    done = run(env, "-V")
    assert done.returncode == 0
    assert done.stdout == b""
    assert done.stderr.startswith(b"qsh_")
    assert b"OpenSSH" in done.stderr


def test_log_file(env: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "log"
    port = str(free_port())
    done = run(env, "-F", "none", "-v", "-E", str(path), "-p", port, "127.0.0.1")
    assert done.returncode == 255
    assert done.stderr == b""
    assert "Connection refused" in path.read_text()


@pytest.mark.parametrize("more", [(), ("-t",), ("-N",), ("-f", "-n"), ("-oProxyCommand=none",)])
def test_a_shared_connection_that_cannot_be(
    env: dict[str, str], sshd: int, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """The master finds no qshd: its first client becomes ssh, with ssh's own socket at the same path."""
    shared = ("-oControlMaster=auto", "-oControlPersist=yes", "-S", f"{tmp_path}/cp")
    done = run(
        env, "-F", "none", "-o", f"QshPort={free_port()}", "-p", str(sshd), *shared, *more,
        "127.0.0.1", "true",
    )  # fmt: skip
    assert done.returncode == 42, done.stderr
    assert f"<-S><{tmp_path}/cp>" in done.stdout.decode()
    assert done.stdout.endswith(b"<--><127.0.0.1><true>")
    assert not (tmp_path / "cp.qsh").exists()


def test_a_shared_connection_and_no_ssh(env: dict[str, str], sshd: int, tmp_path: Path) -> None:
    shared = ("-oControlMaster=auto", "-oControlPersist=yes", "-S", f"{tmp_path}/cp")
    where = ("-F", "none", "-o", f"QshPort={free_port()}", "-p", str(sshd))
    done = run({**env, "PATH": str(tmp_path)}, *where, *shared, "127.0.0.1", "true")
    assert done.returncode == 255
    assert done.stderr == b"qsh: no ssh(1) in PATH to fall back to\r\n"


def test_a_shared_connection_by_way_of_another_host(env: dict[str, str], tmp_path: Path) -> None:
    shared = ("-oControlMaster=auto", "-S", f"{tmp_path}/cp")
    done = run(env, "-F", "none", "-oProxyCommand=true", *shared, "127.0.0.1", "true")
    assert done.returncode == 42, done.stderr
    assert b"<-o><ProxyCommand=true>" in done.stdout
