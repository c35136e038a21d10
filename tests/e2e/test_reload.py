"""SIGHUP: new rules for new logins, what runs goes on, a broken file changes nothing, ports come and go."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT_S = 20.0


def until(condition: Callable[[], object], server: LiveServer) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come about:\n" + "".join(server.log)
        time.sleep(0.01)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    running = LiveServer(tmp_path)
    yield running
    running.stop()


def reload(server: LiveServer, change: Callable[[str], str]) -> str:
    """Change the file and say so; what is logged about it."""
    path = server.home / "qshd_config"
    path.write_text(change(path.read_text()))
    before = len(server.log)
    server.process.send_signal(signal.SIGHUP)

    def text() -> str:
        return "".join(server.log[before:])

    until(lambda: "was read again" in text() or "stays in force" in text(), server)
    return text()


class Running:
    """A client whose program repeats what it reads."""

    def __init__(self, server: LiveServer) -> None:
        self.process = subprocess.Popen(
            server.command("cat"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=server.env,
            bufsize=0,
        )
        self.echoes(b"first\n")

    def echoes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(data)
        assert self.process.stdout.read(len(data)) == data

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(LIMIT_S) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_new_rules_hold_for_new_logins_only(server: LiveServer) -> None:
    running = Running(server)
    assert server.run("echo $A").stdout == b"\n"
    reload(server, lambda text: f"SetEnv A=new\nBanner {server.home}/banner\n{text}")
    assert server.run("echo $A").stdout == b"new\n"
    reload(server, lambda text: f"DenyUsers *\n{text}")
    assert server.run("echo no").returncode == 255
    running.echoes(b"still here\n")
    reload(server, lambda text: text.replace("DenyUsers *\n", ""))
    assert server.run("echo $A").stdout == b"new\n"
    running.echoes(b"and here\n")
    running.end()


def test_the_front_takes_its_part(server: LiveServer) -> None:
    (server.home / "banner").write_text("behave yourself\n")
    assert b"behave" not in server.run("true").stderr
    reload(server, lambda text: f"Banner {server.home}/banner\nLogLevel DEBUG\n{text}")
    assert b"behave yourself" in server.run("true").stderr
    reload(server, lambda text: f"MaxStartups 1:100:1\nPerSourceMaxStartups 0\n{text}")
    assert server.run("true").returncode == 255


BROKEN = {
    "a bad line": (lambda text: f"{text}\nFrobnicate yes\n", ": Bad configuration option: Frobnicate"),
    "a bad value": (lambda text: f"PermitTTY perhaps\n{text}", "line 2: unsupported option"),
    "nothing to listen on": (
        lambda text: text.replace("ListenAddress 127.0.0.1", "ListenAddress 192.0.2.1"),
        "there would be nothing to listen on",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_changes_nothing(server: LiveServer, name: str) -> None:
    change, reason = BROKEN[name]
    running = Running(server)
    told = reload(server, lambda text: "DenyUsers *\n" + change(text))
    assert reason in told
    assert "the old configuration stays in force" in told
    assert server.run("echo in").stdout == b"in\n"
    running.echoes(b"still here\n")
    running.end()


def test_a_file_that_is_gone_changes_nothing(server: LiveServer) -> None:
    path = server.home / "qshd_config"
    path.rename(server.home / "away")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "stays in force" in "".join(server.log), server)
    assert "No such file" in "".join(server.log)
    assert server.run("echo in").stdout == b"in\n"


def test_ports_come_and_go(server: LiveServer) -> None:
    """What is connected where no new connection is taken stays; with the last of them the port is free."""
    old, new = server.port, free_port()
    running = Running(server)
    told = reload(server, lambda text: text.replace(f"Port {old}", f"Port {old}\nPort {new}"))
    until(lambda: f"Server listening on 127.0.0.1 port {new}." in "".join(server.log), server)
    assert server.run("echo old").stdout == b"old\n", told
    server.port = new
    assert server.run("echo new").stdout == b"new\n"
    reload(server, lambda text: text.replace(f"Port {old}\n", ""))
    assert server.run("echo new").stdout == b"new\n"
    server.port = old
    done = server.run("echo no")
    assert done.returncode == 255
    assert b"efused" in done.stderr
    running.echoes(b"still here\n")
    running.end()
    until(lambda: free(old), server)
    server.port = new
    reload(server, lambda text: text.replace(f"Port {new}", f"Port {old}\nPort {new}"))
    server.port = old
    assert server.run("echo old").stdout == b"old\n"


def free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_a_port_that_is_taken_is_said(server: LiveServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        told = reload(
            server,
            lambda text: text.replace(f"Port {server.port}", f"Port {server.port}\nPort {port}"),
        )
        assert f"cannot listen on 127.0.0.1 port {port} (UDP): Address already in use" in told
        assert "was read again" in told
        assert server.run("echo in").stdout == b"in\n"


def test_what_takes_a_start_is_said(server: LiveServer) -> None:
    told = reload(
        server, lambda text: text.replace("PidFile none", "PidFile /run/x.pid\nQshTcpPort 2")
    )
    assert "PidFile was changed, which takes effect when qshd is started again" in told
    assert "QshTcpPort was set, which takes effect when qshd is started again" in told
    assert server.run("echo in").stdout == b"in\n"


def test_other_host_keys_are_for_connections_to_come(server: LiveServer, tmp_path: Path) -> None:
    running = Running(server)
    other = tmp_path / "other_key"
    make_key(other)
    told = reload(server, lambda text: f"HostKey {other}\n" + without_keys(text))
    assert "takes effect when" not in told
    until(
        lambda: "the host keys or their certificates are others now" in "".join(server.log), server
    )
    until(lambda: server.run("true").returncode, server)
    assert b"HAS CHANGED" in server.run("true").stderr
    known = server.home / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {other.with_suffix('.pub').read_text()}")
    assert server.run("echo new").stdout == b"new\n"
    running.echoes(b"still here\n")
    running.end()


def test_a_host_certificate_is_renewed(server: LiveServer, tmp_path: Path) -> None:
    ca, public = tmp_path / "ca", server.home / "host_key.pub"
    make_key(ca)
    public.write_text(server.host_key.line() + "\n")
    (server.home / "known_hosts").write_text(
        f"@cert-authority * {ca.with_suffix('.pub').read_text()}"
    )
    line = f"HostCertificate {server.home}/host_key-cert.pub\n"
    for number, valid in enumerate(("-2d:-1d", "-1d:+1d"), start=1):
        words = [
            "-q",
            "-s",
            str(ca),
            "-I",
            "host",
            "-h",
            "-V",
            valid,
            "-n",
            "127.0.0.1",
            str(public),
        ]
        subprocess.run(["ssh-keygen", *words], check=True)
        reload(server, lambda text: text if line in text else line + text)

        def told(count: int = number) -> bool:
            return "".join(server.log).count("their certificates are others now") == count

        until(told, server)
        if number == 1:
            assert server.run("true").returncode == 255
        else:
            until(lambda: server.run("echo in").stdout == b"in\n", server)


def test_a_host_key_that_cannot_be_used_changes_nothing(server: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("no key\n")
    told = reload(
        server, lambda text: f"DenyUsers *\nHostKey {tmp_path}/bad\n" + without_keys(text)
    )
    assert f"{tmp_path}/bad" in told
    assert "the old configuration stays in force" in told
    assert server.run("echo in").stdout == b"in\n"


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def without_keys(text: str) -> str:
    return "".join(line for line in text.splitlines(True) if not line.startswith("HostKey"))


def test_the_next_front_has_the_new_rules(server: LiveServer) -> None:
    old, new = server.port, free_port()
    (server.home / "banner").write_text("behave yourself\n")
    reload(
        server,
        lambda text: f"Banner {server.home}/banner\n" + text.replace(f"Port {old}", f"Port {new}"),
    )
    server.port = new
    listening = f"Server listening on 127.0.0.1 port {new}."
    until(lambda: listening in "".join(server.log), server)
    time_of_front = next(line for line in server.log if listening in line)
    front = int(time_of_front.partition("[")[2].partition("]")[0])
    end = time.monotonic() + 1.5  # one that ends younger is not replaced
    until(lambda: time.monotonic() > end, server)
    os.kill(front, signal.SIGKILL)
    until(lambda: "".join(server.log).count(listening) == 2, server)
    assert b"behave yourself" in server.run("true").stderr


def test_many_at_once(server: LiveServer) -> None:
    running = Running(server)
    for _ in range(50):
        server.process.send_signal(signal.SIGHUP)
    running.echoes(b"still here\n")
    assert server.run("echo in").stdout == b"in\n"
    running.end()
