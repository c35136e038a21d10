"""Forwards that are added to a shared connection and taken away, ``-W``, ``-N`` and ``-f`` over one."""

from __future__ import annotations

import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.datagrams import UdpTarget, exchange, udp_peer
from tests.support.forwarding import Target, connect, echo, free_tcp_port, read, socks5
from tests.support.live_server import PLAIN_SHELL, LiveServer, free_port
from tests.support.sharing import Shared, gone
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), PLAIN_SHELL)
    yield server
    server.stop()


@pytest.fixture
def shared(server: LiveServer, tmp_path: Path) -> Iterator[Shared]:
    shared = Shared(server, tmp_path)
    shared.run("true")
    yield shared
    shared.end()


@pytest.fixture
def target() -> Iterator[int]:
    with Target(echo) as target:
        yield target.port


def answers(port: int) -> bool:
    try:
        with connect(port) as sock:
            sock.sendall(b"to and fro")
            return read(sock, 10) == b"to and fro"
    except OSError:
        return False


@pytest.mark.parametrize("letter", ["L", "R"])
def test_a_udp_forward_comes_and_goes(shared: Shared, letter: str) -> None:
    """Beside what else is on the connection: its datagrams are not the terminals'."""
    port = free_port()
    with UdpTarget(bytes.upper) as target:
        words = (f"-{letter}", f"udp/{port}:127.0.0.1:{target.port}")
        done = shared.ask("forward", *words)
        assert (done.returncode, done.stderr) == (0, b"")
        with udp_peer(port) as sock:
            assert exchange(sock, b"question") == b"QUESTION"
            assert shared.ask("forward", *words).returncode == 0  # it is there already
            assert shared.run("echo there").stdout == b"there\n"
            assert exchange(sock, b"x" * 30_000) == b"X" * 30_000
        done = shared.ask("cancel", *words)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"port not forwarded" in shared.ask("cancel", *words).stderr
        with udp_peer(port) as sock:
            wait_until(lambda: unheard(sock))
    assert shared.logins == 1


def unheard(sock: socket.socket) -> bool:
    """The port is closed: an ICMP message says so."""
    try:
        sock.send(b"anybody?")
        sock.settimeout(0.2)
        sock.recv(10)
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        pass
    return False


def test_a_local_forward_comes_and_goes(shared: Shared, target: int) -> None:
    port = free_tcp_port()
    words = ("-L", f"{port}:127.0.0.1:{target}")
    done = shared.ask("forward", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert answers(port)
    assert shared.ask("forward", *words).returncode == 0  # it is there already
    open_before = connect(port)
    with open_before:
        open_before.sendall(b"a")
        assert read(open_before, 1) == b"a"
        done = shared.ask("cancel", *words)
        assert (done.returncode, done.stderr) == (0, b"")
        assert not answers(port)
        open_before.sendall(b"b")  # lives on
        assert read(open_before, 1) == b"b"
    assert shared.ask("forward", *words).returncode == 0
    assert answers(port)
    assert shared.logins == 1


def test_a_remote_forward_comes_and_goes(shared: Shared, target: int) -> None:
    port = free_tcp_port()
    words = ("-R", f"127.0.0.1:{port}:127.0.0.1:{target}")
    done = shared.ask("forward", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert answers(port)
    assert shared.ask("cancel", *words).returncode == 0
    wait_until(lambda: not answers(port), "the host to listen no more")
    assert shared.ask("forward", *words).returncode == 0
    assert answers(port)


def test_a_port_that_the_host_chooses_is_printed(shared: Shared, target: int) -> None:
    words = ("-R", f"0:127.0.0.1:{target}")
    done = shared.ask("forward", *words)
    assert done.returncode == 0
    assert answers(int(done.stdout))
    assert shared.ask("forward", *words).stdout == done.stdout
    assert shared.ask("cancel", *words).returncode == 0
    wait_until(lambda: not answers(int(done.stdout)), "the host to listen no more")


def test_a_dynamic_forward(shared: Shared, target: int) -> None:
    port = free_tcp_port()
    assert shared.ask("forward", "-D", str(port)).returncode == 0
    with socks5(port, "127.0.0.1", target) as sock:
        sock.sendall(b"hello")
        assert read(sock, 5) == b"hello"
    assert shared.ask("cancel", "-D", str(port)).returncode == 0
    assert not answers(port)


def test_unix_sockets(shared: Shared, target: int, tmp_path: Path) -> None:
    words = ("-L", f"{tmp_path}/here:127.0.0.1:{target}")
    assert shared.ask("forward", *words).returncode == 0
    with connect(tmp_path / "here") as sock:
        sock.sendall(b"hello")
        assert read(sock, 5) == b"hello"
    assert shared.ask("cancel", *words).returncode == 0
    assert shared.ask("forward", *words).returncode == 0


def test_what_cannot_be_had(shared: Shared) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = shared.ask("forward", "-L", f"127.0.0.1:{port}:127.0.0.1:1")
        assert done.returncode == 255
        assert done.stderr.decode() == (
            "mux_client_forward: forwarding request failed: Port forwarding failed\r\n"
            "muxclient: master forward request failed\r\n"
        )
        done = shared.ask("forward", "-R", f"127.0.0.1:{port}:127.0.0.1:1")
        assert done.returncode == 255
        assert f"remote port forwarding failed for listen port {port}" in done.stderr.decode()
    done = shared.ask("cancel", "-L", f"{port}:127.0.0.1:1")
    assert (done.returncode, done.stderr.decode()) == (
        0,  # as ssh
        "mux_client_forward: forwarding request failed: port not forwarded\r\n"
        "muxclient: master cancel forward request failed\r\n",
    )


def test_forwards_of_a_client_stay_with_the_master(shared: Shared, target: int) -> None:
    port = free_tcp_port()
    assert shared.run("true", more=("-L", f"{port}:127.0.0.1:{target}")).returncode == 0
    assert answers(port)
    assert shared.logins == 1


def test_forwards_of_the_first(server: LiveServer, tmp_path: Path, target: int) -> None:
    shared = Shared(server, tmp_path)
    port, there = free_tcp_port(), free_tcp_port()
    words = ("-L", f"{port}:127.0.0.1:{target}", "-R", f"127.0.0.1:{there}:127.0.0.1:{target}")
    try:
        assert shared.run("true", more=words).returncode == 0
        assert answers(port)
        assert answers(there)
    finally:
        shared.end()


def test_stdio(shared: Shared, target: int) -> None:
    client = shared.start(more=("-W", f"127.0.0.1:{target}"))
    client.stdin.write(b"hello")  # type: ignore[union-attr]
    client.stdin.flush()  # type: ignore[union-attr]
    assert client.stdout.read(5) == b"hello"  # type: ignore[union-attr]
    client.stdin.close()  # type: ignore[union-attr]
    assert client.wait(20) == 0
    assert shared.logins == 1


def test_stdio_to_nowhere(shared: Shared) -> None:
    done = shared.server.run(options=shared.options("-W", f"127.0.0.1:{free_tcp_port()}"))
    assert done.returncode == 255
    assert "connect failed: Connection refused" in done.stderr.decode()
    assert "stdio forwarding failed" in done.stderr.decode()


def test_stdio_of_the_first(server: LiveServer, tmp_path: Path, target: int) -> None:
    shared = Shared(server, tmp_path)
    try:
        client = shared.start(more=("-W", f"127.0.0.1:{target}"))
        client.stdin.write(b"hello")  # type: ignore[union-attr]
        client.stdin.close()  # type: ignore[union-attr]
        assert client.stdout.read() == b"hello"  # type: ignore[union-attr]
        assert client.wait(20) == 0
        assert shared.run("echo on").stdout == b"on\n"
        assert shared.logins == 1
    finally:
        shared.end()


def test_no_program(server: LiveServer, tmp_path: Path, target: int) -> None:
    """-N with ControlPersist leaves a master behind, and ends."""
    shared = Shared(server, tmp_path)
    port = free_tcp_port()
    try:
        done = server.run(options=shared.options("-N", "-L", f"{port}:127.0.0.1:{target}"))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert answers(port)
        assert shared.run("echo on").stdout == b"on\n"
        assert shared.logins == 1
    finally:
        shared.end()


def test_no_program_where_another_is_the_master(shared: Shared, target: int) -> None:
    """ControlPersist has no effect then: it stays as long as it lives."""
    port = free_tcp_port()
    words = ("-N", "-L", f"{port}:127.0.0.1:{target}")
    client = shared.start(more=words, master="yes")
    wait_until(lambda: answers(port), "the forward")
    assert client.poll() is None
    client.send_signal(signal.SIGTERM)
    assert client.wait(20) == 255
    assert not answers(port)
    assert b"already exists, disabling multiplexing" in client.stderr.read()  # type: ignore[union-attr]


def test_no_program_over_a_master(shared: Shared) -> None:
    client = shared.start(more=("-N",))
    wait_until(lambda: b"no session" in shared.ask("channels").stdout, "the client to be there")
    assert client.poll() is None
    client.send_signal(signal.SIGTERM)
    assert client.wait(20) == 255
    wait_until(lambda: b"no session" not in shared.ask("channels").stdout, "it to be gone")
    assert shared.run("echo on").stdout == b"on\n"


def test_in_the_background(server: LiveServer, tmp_path: Path) -> None:
    """``ssh -fNM -S path host``, ended by ``-O exit``: the usual way to keep a tunnel."""
    shared = Shared(server, tmp_path)
    try:
        options = shared.options("-f", "-N", master="yes", persist="no")
        done = server.run(options=options)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        pid = shared.master
        assert shared.run("echo on", persist="no").stdout == b"on\n"
        assert not gone(pid)
        shared.ask("exit")
        wait_until(lambda: gone(pid), "the master to end")
        assert shared.logins == 1
    finally:
        shared.end()


def test_a_command_in_the_background(shared: Shared, tmp_path: Path) -> None:
    done = shared.run(f"echo said; exec > {tmp_path}/out 2>&1; echo done", more=("-f",))
    assert done.returncode == 0
    wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text() == "done\n")
    assert shared.logins == 1


def test_killed_as_ssh_is(server: LiveServer, tmp_path: Path) -> None:
    """Without ControlPersist ssh's process is the master: who kills it has ended the connection."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        shared = Shared(server, tmp_path)
        client = shared.start(more=("-N",), master="yes", persist="no")
        wait_until(shared.socket.exists, "the master")
        pid = shared.master
        client.send_signal(number)
        client.wait(20)
        wait_until(lambda pid=pid: gone(pid), "the master to end")  # type: ignore[misc]
        assert not shared.socket.exists()
        shared.end()


def test_information(shared: Shared, target: int) -> None:
    port = free_tcp_port()
    shared.ask("forward", "-L", f"{port}:127.0.0.1:{target}")
    with connect(port) as sock:
        sock.sendall(b"a")
        assert read(sock, 1) == b"a"
        lines = shared.ask("channels").stdout.decode().split("\r\n")
        assert lines[0] == "The following connections are open:"
        assert re.search(rf"^  #\d+ direct-tcpip: listening port {port} for ", lines[1])
    text = shared.ask("conninfo").stdout.decode()
    assert re.search(rf"^Connection information for \S+ pid {shared.master}\r\n", text)
    assert f"-> 127.0.0.1:{shared.server.port}\r\n" in text
    assert "  hostkeyalgorithm ssh-ed25519\r\n" in text
    assert re.search(
        r"^  traffic \d+ packets \d+ bytes in, \d+ packets \d+ bytes out \(\d+ arrived, \d+ under way\)\r$",
        text,
        re.M,
    )
