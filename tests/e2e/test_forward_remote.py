"""``-R`` against a real qshd: what goes through, how it ends, what is told, and what goes wrong."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.forwarding import (
    LIMIT_S,
    Forwarding,
    Target,
    close_hard,
    connect,
    digest,
    echo,
    free_tcp_port,
    read,
    read_all,
    socks5,
)
from tests.support.live_server import LiveServer
from tests.support.procs import tree
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

BULK = os.urandom(1 << 20) * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


def answer_digest(sock: socket.socket) -> None:
    sock.sendall(digest(read_all(sock)))


def listening(server: LiveServer, *options: str) -> Forwarding:
    client = Forwarding(server, *options)
    client.expect("remote forward success", options.count("-R"))
    return client


# -- what goes through ---------------------------------------------------------------------------


def test_ends_and_bulk(server: LiveServer) -> None:
    port = free_tcp_port()
    with Target(answer_digest) as target:
        with listening(server, "-R", f"{port}:localhost:{target.port}"):
            for data in (b"", b"question", BULK):
                with connect(port) as sock:
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)
                    assert read_all(sock) == digest(data)


def test_bulk_to_who_connects(server: LiveServer) -> None:
    port = free_tcp_port()
    with Target(lambda sock: sock.sendall(BULK)) as target:
        with listening(server, "-R", f"{port}:127.0.0.1:{target.port}"), connect(port) as sock:
            assert digest(read_all(sock)) == digest(BULK)


def test_resets_both_ways(server: LiveServer) -> None:
    port = free_tcp_port()
    ends: list[object] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"ready")
        try:
            ends.append(sock.recv(1))
            close_hard(sock)
        except ConnectionResetError as error:
            ends.append(type(error))

    with Target(serve) as target, listening(server, "-R", f"{port}:127.0.0.1:{target.port}"):
        sock = connect(port)
        assert read(sock, 5) == b"ready"
        close_hard(sock)
        wait_until(lambda: ends == [ConnectionResetError])
        with connect(port) as sock:
            assert read(sock, 5) == b"ready"
            sock.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_unix_sockets_on_both_sides(server: LiveServer, tmp_path: Path) -> None:
    there, here, port = tmp_path / "there", tmp_path / "here", free_tcp_port()
    with Target(answer_digest, here), Target(answer_digest) as target:
        options = ("-R", f"{there}:localhost:{target.port}", "-R", f"{port}:{here}")
        with listening(server, *options):
            assert there.stat().st_mode & 0o777 == 0o600
            for where in (there, port):
                with connect(where) as sock:
                    sock.sendall(b"question")
                    sock.shutdown(socket.SHUT_WR)
                    assert read_all(sock) == digest(b"question")


def test_an_allocated_port_is_told(server: LiveServer) -> None:
    with Target(echo) as target:
        with listening(server, "-R", f"0:localhost:{target.port}") as client:
            line = client.expect("Allocated port ")
            found = re.fullmatch(
                rf"Allocated port (\d+) for remote forward to localhost:{target.port}", line
            )
            assert found is not None
            with connect(int(found[1])) as sock:
                sock.sendall(b"x")
                assert sock.recv(1) == b"x"


def test_the_host_listens_before_the_command_runs(server: LiveServer) -> None:
    port = free_tcp_port()
    command = f"exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; read x <&3; echo got $x"
    with Target(echo) as target:
        options = ("-R", f"{port}:127.0.0.1:{target.port}")
        done = server.run(f"bash -c {shlex.quote(command)}", options=options)
        assert (done.stdout, done.stderr) == (b"got hello\n", b"")


def test_socks_on_the_host(server: LiveServer) -> None:
    """``-R port``: programs there reach what the client reaches."""
    port, closed = free_tcp_port(), free_tcp_port()
    with Target(echo) as target, listening(server, "-R", str(port)):
        with socks5(port, "localhost", target.port) as alive:
            for host, number, code in (("localhost", closed, 5), ("nonesuch.invalid", 1, 4)):
                with pytest.raises(AssertionError) as refusal:
                    socks5(port, host, number)
                assert f"x05\\x{code:02x}" in str(refusal.value)
            with connect(port) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert read_all(sock) == b""
            alive.sendall(b"x")
            assert alive.recv(1) == b"x"


def test_where_socks_on_the_host_may_lead(server: LiveServer) -> None:
    port = free_tcp_port()
    with Target(echo) as target:
        permit = f"-oPermitRemoteOpen=localhost:{target.port}"
        with listening(server, permit, "-R", str(port)):
            socks5(port, "localhost", target.port).close()
            with pytest.raises(AssertionError, match=r"x05\\x02"):
                socks5(port, "127.0.0.1", target.port)
        with listening(server, "-oPermitRemoteOpen=none", "-R", str(port)):
            with pytest.raises(AssertionError, match=r"x05\\x02"):
                socks5(port, "localhost", target.port)


def test_many_at_once(server: LiveServer) -> None:
    port = free_tcp_port()

    def one(number: int) -> bytes:
        with connect(port) as sock:
            sock.sendall(b"%d" % number)
            barrier.wait(LIMIT_S)
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

    barrier = threading.Barrier(200)
    with Target(echo) as target, listening(server, "-R", f"{port}:127.0.0.1:{target.port}"):
        with ThreadPoolExecutor(200) as pool:
            assert list(pool.map(one, range(200))) == [b"%d" % number for number in range(200)]


# -- what goes wrong -----------------------------------------------------------------------------


def test_targets_that_cannot_be_had(server: LiveServer, tmp_path: Path) -> None:
    ports, closed = [free_tcp_port() for _ in range(4)], free_tcp_port()
    with Target(echo) as target:
        specs = (
            f"{ports[0]}:localhost:{closed}",
            f"{ports[1]}:nonesuch.invalid:80",
            f"{ports[2]}:{tmp_path}/gone",
            f"{ports[3]}:127.0.0.1:{target.port}",
        )
        with listening(server, *(word for spec in specs for word in ("-R", spec))) as client:
            with connect(ports[3]) as alive:
                for port, text in zip(
                    ports,
                    (
                        f"connect_to localhost port {closed}: failed.",
                        "connect_to nonesuch.invalid: unknown host (Name or service not known)",
                        f"connect_to {tmp_path}/gone: failed.",
                    ),
                    strict=False,
                ):
                    with connect(port) as sock:
                        assert sock.recv(1) == b""
                    client.expect(text)
                alive.sendall(b"x")
                assert alive.recv(1) == b"x"


def test_a_port_in_use(server: LiveServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        spec = f"127.0.0.1:{port}:localhost:1"
        done = server.run("echo on", options=("-R", spec))
        warning = f"Warning: remote port forwarding failed for listen port {port}\r\n".encode()
        assert (done.stdout, done.stderr, done.returncode) == (b"on\n", warning, 0)
        done = server.run("echo on", options=("-oExitOnForwardFailure=yes", "-R", spec))
        error = f"Error: remote port forwarding failed for listen port {port}\r\n".encode()
        assert (done.stdout, done.stderr, done.returncode) == (b"", error, 255)


def test_where_the_host_listens(tmp_path: Path) -> None:
    def addresses(gateway: str, *specs: str) -> set[str]:
        """Which addresses of this machine take a connection."""
        home = tmp_path / f"{gateway}{len(specs[0])}"
        home.mkdir()
        server = LiveServer(home, f"GatewayPorts {gateway}")
        port = free_tcp_port()
        try:
            with listening(server, *(w for s in specs for w in ("-R", f"{s}{port}:localhost:1"))):
                found = set()
                for address in ("127.0.0.1", "127.0.0.2"):
                    try:
                        socket.create_connection((address, port), LIMIT_S).close()
                        found.add(address)
                    except ConnectionRefusedError:
                        pass
                return found
        finally:
            server.stop()

    both, one, other = {"127.0.0.1", "127.0.0.2"}, {"127.0.0.1"}, {"127.0.0.2"}
    assert addresses("no", "") == one
    assert addresses("no", "*:") == one
    assert addresses("yes", "") == both
    assert addresses("clientspecified", "") == one
    assert addresses("clientspecified", "*:") == both
    assert addresses("clientspecified", "127.0.0.2:") == other


def test_the_end_of_a_client_ends_its_listeners(server: LiveServer) -> None:
    port = free_tcp_port()
    with listening(server, "-R", f"{port}:localhost:1"):
        connect(port).close()
    wait_until(lambda: _refuses(port))
    with listening(server, "-R", f"{port}:localhost:1"):
        connect(port).close()


def _refuses(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it closed meanwhile
        return False
    return False


# -- a terminal that outlives its connection -----------------------------------------------------


def test_forwards_are_there_again_after_a_lost_connection(tmp_path: Path) -> None:
    server = LiveServer(tmp_path, "DetachedMax 1h")
    here, there = free_tcp_port(), free_tcp_port()
    with Target(echo) as target:
        forwards = (
            "-L",
            f"{here}:127.0.0.1:{target.port}",
            "-R",
            f"{there}:127.0.0.1:{target.port}",
        )
        argv = server.command("env PS1='ready$ ' HISTFILE= sh -i", options=("-t", *forwards))
        with OnTerminal(argv, {**server.env, "TERM": "xterm-256color"}) as terminal:
            terminal.expect(b"ready$ ")
            old = [connect(port) for port in (here, there)]
            for sock in old:
                sock.sendall(b"x")
                assert sock.recv(1) == b"x"
            (front,) = [pid for pid in tree(server.process.pid) if _name(pid) == "qshd-front"]
            wait_until(lambda: age_s(front) > 1.2, "a front that is replaced")
            os.kill(front, signal.SIGKILL)
            terminal.type(b"\r")  # without it the loss shows at the next ping, within 20 s
            with pytest.raises(ConnectionResetError):
                old[0].recv(1)
            assert _ends(old[1]), "the front's end of it is gone with the front"
            for port in (here, there):
                wait_until(lambda port=port: _echoes(port))
            terminal.type(b"exit 3\r")
            assert terminal.wait() == 3
    for sock in old:
        sock.close()
    server.stop()


def age_s(pid: int) -> float:
    """Of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _ends(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def _echoes(port: int) -> bool:
    try:
        with connect(port) as sock:
            sock.sendall(b"y")
            return sock.recv(1) == b"y"
    except ConnectionError:
        return False
