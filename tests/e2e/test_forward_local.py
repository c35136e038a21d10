"""``-L``, ``-D`` and ``-W`` against a real qshd: what goes through, how it ends, and what goes wrong."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import threading
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
    forwarded,
    free_tcp_port,
    read,
    read_all,
    socks5,
)
from tests.support.live_server import LiveServer
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TCP_CLOSE = 7
BULK = os.urandom(1 << 20) * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


# -- what goes through ---------------------------------------------------------------------------


def answer_digest(sock: socket.socket) -> None:
    sock.sendall(digest(read_all(sock)))


def test_the_client_half_closes(server: LiveServer) -> None:
    with forwarded(server, answer_digest) as (port, _), connect(port) as sock:
        sock.sendall(b"question")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == digest(b"question")


def test_the_target_half_closes(server: LiveServer) -> None:
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"first")
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))

    with forwarded(server, serve) as (port, _), connect(port) as sock:
        assert read_all(sock) == b"first"
        sock.sendall(b"then")
        sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: heard == [b"then"])


def test_bulk_both_ways_at_once(server: LiveServer) -> None:
    found: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        writer = threading.Thread(target=sock.sendall, args=(BULK,))
        writer.start()
        found.append(digest(read_all(sock)))
        writer.join()

    with forwarded(server, serve) as (port, _), connect(port) as sock:

        def send() -> None:
            sock.sendall(BULK)
            sock.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=send)
        writer.start()
        assert digest(read_all(sock)) == digest(BULK)
        writer.join()
        wait_until(lambda: found == [digest(BULK)])


def test_a_reset_by_the_target_is_no_end(server: LiveServer) -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(b"part")
        assert sock.recv(1) == b"x"
        close_hard(sock)

    with forwarded(server, serve) as (port, _), connect(port) as sock:
        assert read(sock, 4) == b"part"
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_reset_by_the_client_is_no_end(server: LiveServer) -> None:
    ends: list[object] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"ready")
        try:
            ends.append(sock.recv(1))
        except ConnectionResetError as error:
            ends.append(type(error))

    with forwarded(server, serve) as (port, _):
        sock = connect(port)
        assert read(sock, 5) == b"ready"
        close_hard(sock)
        wait_until(lambda: ends == [ConnectionResetError])


def test_a_reset_in_the_middle_of_a_flood_is_no_end(server: LiveServer) -> None:
    """Both directions find out at the same time; the one that is told second hears only an end."""
    heard: list[object] = []

    def serve(sock: socket.socket) -> None:
        threading.Thread(target=_flood, args=(sock,), daemon=True).start()
        try:
            read_all(sock)
        except ConnectionResetError:
            pass  # or the writing thread got that: the state tells it for both
        heard.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])

    with forwarded(server, serve) as (port, _):
        for count in range(1, 11):
            sock = connect(port)
            sock.sendall(b"x" * 100_000)
            assert len(read(sock, 100_000)) == 100_000
            close_hard(sock)
            wait_until(lambda count=count: len(heard) == count)
    assert heard == [TCP_CLOSE] * 10, "CLOSE_WAIT would be an end in good order"


def _flood(sock: socket.socket) -> None:
    try:
        while True:
            sock.sendall(b"y" * 65536)
    except OSError:
        pass


def test_a_lost_host_is_no_end(tmp_path: Path) -> None:
    server = LiveServer(tmp_path)
    with forwarded(server, echo) as (port, _), connect(port) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        server.stop()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_unix_sockets_on_both_sides(server: LiveServer, tmp_path: Path) -> None:
    here, there, port = tmp_path / "here", tmp_path / "there", free_tcp_port()
    options = ("-L", f"{here}:{there}", "-L", f"{port}:{there}")
    with Target(answer_digest, there), Forwarding(server, *options):
        for where in (here, port):
            with connect(where) as sock:
                sock.sendall(BULK[:3_000_000])
                sock.shutdown(socket.SHUT_WR)
                assert read_all(sock) == digest(BULK[:3_000_000])
        assert here.stat().st_mode & 0o777 == 0o600, "StreamLocalBindMask is 0177"
        done = server.run(options=("-W", str(there)), stdin=b"question")
        assert (done.stdout, done.returncode) == (digest(b"question"), 0)


def test_a_left_over_unix_socket(server: LiveServer, tmp_path: Path) -> None:
    here = tmp_path / "here"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(os.fspath(here))
    clash = server.run("echo on", options=("-L", f"{here}:localhost:1"))
    assert clash.stdout == b"on\n"
    assert b"unix_listener: cannot bind to path " in clash.stderr
    assert b"Could not request local forwarding." in clash.stderr
    unlink = ("-oStreamLocalBindUnlink=yes", "-oStreamLocalBindMask=0111")
    with Target(echo) as target:
        with Forwarding(server, *unlink, "-L", f"{here}:localhost:{target.port}"):
            with connect(here) as sock:
                sock.sendall(b"x")
                assert sock.recv(1) == b"x"
            assert here.stat().st_mode & 0o777 == 0o666


@pytest.mark.tool("curl")
def test_curl(server: LiveServer, tmp_path: Path) -> None:
    def serve(sock: socket.socket) -> None:
        while b"\r\n\r\n" not in sock.recv(65536):
            pass
        sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BULK) + BULK)

    port, socks = free_tcp_port(), free_tcp_port()
    with Target(serve) as target:
        options = ("-L", f"{port}:localhost:{target.port}", "-D", str(socks))
        with Forwarding(server, *options):
            where = f"http://localhost:{target.port}/"
            for words in (
                [f"http://127.0.0.1:{port}/"],
                *(
                    ["-x", f"{kind}://127.0.0.1:{socks}", where]
                    for kind in ("socks4", "socks4a", "socks5", "socks5h")
                ),
            ):
                done = subprocess.run(["curl", "-sS", *words], capture_output=True, check=False)
                assert digest(done.stdout) == digest(BULK), (words, done.stderr)


def test_many_at_once_through_socks(server: LiveServer) -> None:
    port = free_tcp_port()
    with Target(echo) as target, Forwarding(server, "-D", str(port)) as client:

        def one(number: int) -> bytes:
            with socks5(port, "localhost", target.port) as sock:
                sock.sendall(b"%d" % number)
                barrier.wait(LIMIT_S)  # all of them are open at the same time
                sock.shutdown(socket.SHUT_WR)
                return read_all(sock)

        barrier = threading.Barrier(200)
        with ThreadPoolExecutor(200) as pool:
            assert list(pool.map(one, range(200))) == [b"%d" % number for number in range(200)]
        assert not [line for line in client.log if "failed" in line]


def test_standard_input_and_output(server: LiveServer) -> None:
    with Target(answer_digest) as target:
        done = server.run(options=("-W", f"localhost:{target.port}"), stdin=BULK[:5_000_000])
        assert (done.stdout, done.stderr) == (digest(BULK[:5_000_000]), b"")
        assert done.returncode == 0


def test_while_a_command_runs(server: LiveServer) -> None:
    """The listener is there before the command."""
    port = free_tcp_port()
    with Target(echo) as target:
        command = f"exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; read x <&3; echo got $x"
        options = ("-L", f"{port}:127.0.0.1:{target.port}")
        done = server.run(f"bash -c {shlex.quote(command)}", options=options)
        assert done.stdout == b"got hello\n"


def test_the_end_waits_for_connections(server: LiveServer) -> None:
    """As with ``ssh -f -L … sleep 10``: a tunnel that is in use outlives the command."""
    port = free_tcp_port()
    with Target(echo) as target:
        options = ("-v", "-L", f"{port}:127.0.0.1:{target.port}")
        client = subprocess.Popen(
            server.command("echo begun; read x; exit 7", options=options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=server.env,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == b"begun\n"
        with connect(port) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            client.stdin.close()
            while b"Exit status 7" not in client.stderr.readline():
                pass
            sock.sendall(b"y")
            assert sock.recv(1) == b"y"
            assert client.poll() is None
        assert client.wait(LIMIT_S) == 7
        client.stdout.close()
        client.stderr.close()


# -- what goes wrong -----------------------------------------------------------------------------


def test_targets_that_cannot_be_had(server: LiveServer, tmp_path: Path) -> None:
    ports = [free_tcp_port() for _ in range(4)]
    refused, gone = free_tcp_port(), tmp_path / "gone"
    with Target(echo) as target:
        options = [
            f"{ports[0]}:localhost:{refused}",
            f"{ports[1]}:nonesuch.invalid:80",
            f"{ports[2]}:{gone}",
            f"{ports[3]}:127.0.0.1:{target.port}",
        ]
        with Forwarding(server, *(word for spec in options for word in ("-L", spec))) as client:
            with connect(ports[3]) as alive:
                for port, reason in zip(
                    ports,
                    (
                        "connect failed: Connection refused",
                        "connect failed: Name or service not known",
                        "connect failed: No such file or directory",
                    ),
                    strict=False,
                ):
                    with connect(port) as sock:
                        assert sock.recv(1) == b""
                    line = client.expect(reason)
                    assert line.startswith("channel ")
                    assert f": open failed: {reason}" in line
                alive.sendall(b"x")
                assert alive.recv(1) == b"x", "other channels live on"


@pytest.mark.parametrize(
    ("host", "code"), [("localhost", 5), ("nonesuch.invalid", 4), ("127.0.0.1", 5)]
)
def test_socks_says_why(server: LiveServer, host: str, code: int) -> None:
    port = free_tcp_port()
    with Forwarding(server, "-D", f"localhost:{port}"):
        with pytest.raises(AssertionError) as refusal:
            socks5(port, host, free_tcp_port())
        assert f"x05\\x{code:02x}" in str(refusal.value)


def test_malformed_socks_ends_only_itself(server: LiveServer) -> None:
    port = free_tcp_port()
    with Target(echo) as target, Forwarding(server, "-D", str(port)):
        with socks5(port, "localhost", target.port) as alive:
            for nonsense in (
                b"GET / HTTP/1.0\r\n\r\n",
                b"\x04\x02\0\x50\1\2\3\4\0",
                b"\x05\x01\x02",
            ):
                with connect(port) as sock:
                    sock.sendall(nonsense)
                    try:
                        assert len(read_all(sock)) <= 8
                    except ConnectionResetError:
                        pass  # what it had not read yet
            alive.sendall(b"x")
            assert alive.recv(1) == b"x"


def test_readers_that_have_stopped_do_not_stop_the_others(server: LiveServer) -> None:
    sent: list[int] = []

    def serve(sock: socket.socket) -> None:
        if sock.recv(1) == b"e":
            echo(sock)
            return
        sock.setblocking(False)
        total = 0
        try:
            while True:
                sock.settimeout(1.0)
                total += sock.send(BULK[:1_000_000])
        except TimeoutError:
            sent.append(total)  # neither end takes any more
        sock.settimeout(LIMIT_S)
        sock.recv(1)

    with forwarded(server, serve) as (port, _):
        stopped = [connect(port) for _ in range(8)]
        for sock in stopped:
            sock.sendall(b"f")
        wait_until(lambda: len(sent) == len(stopped))
        assert max(sent) < 64 << 20, "what nobody reads is not collected without a limit"
        with connect(port) as sock:
            sock.sendall(b"echo me")
            assert read(sock, 6) == b"cho me"
        for sock in stopped:
            sock.close()


def test_a_port_in_use(server: LiveServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        spec = f"127.0.0.1:{port}:localhost:1"
        text = (
            f"bind [127.0.0.1]:{port}: Address already in use\r\n"
            f"channel_setup_fwd_listener_tcpip: cannot listen to port: {port}\r\n"
            "Could not request local forwarding.\r\n"
        ).encode()
        done = server.run("echo on", options=("-L", spec))
        assert (done.stdout, done.stderr, done.returncode) == (b"on\n", text, 0)
        done = server.run("echo on", options=("-oExitOnForwardFailure=yes", "-L", spec))
        assert (done.stdout, done.stderr, done.returncode) == (b"", text, 255)
        done = server.run("echo on", options=("-oClearAllForwardings=yes", "-L", spec))
        assert (done.stdout, done.stderr, done.returncode) == (b"on\n", b"", 0)


def test_a_port_in_use_at_one_address_of_two(server: LiveServer) -> None:
    """It listens on the other; that the last one is taken is told as ssh tells it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ("-oExitOnForwardFailure=yes", "-L", f"{port}:localhost:1")
        done = server.run("echo on", options=options)
    text = f"bind [127.0.0.1]:{port}: Address already in use\r\n".encode()
    assert (done.stdout, done.stderr, done.returncode) == (b"on\n", text, 0)


def test_in_the_background(server: LiveServer) -> None:
    """``-f`` returns when the listeners are there."""
    port = free_tcp_port()
    with Target(echo) as target:
        options = ("-f", "-N", "-L", f"{port}:localhost:{target.port}")
        done = subprocess.run(
            server.command(options=options),
            env=server.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0
        with connect(port) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
    (client,) = _running(f"{port}:localhost:{target.port}")
    os.kill(client, signal.SIGTERM)
    wait_until(lambda: not _running(f"{port}:localhost:{target.port}"))


def _running(word: str) -> list[int]:
    """Processes that were started with this argument and have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word in (entry / "cmdline").read_text().split("\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_gateway_ports(server: LiveServer) -> None:
    port, loopback = free_tcp_port(), free_tcp_port()
    with Forwarding(
        server, "-g", "-L", f"{port}:localhost:1", "-L", f"127.0.0.1:{loopback}:localhost:1"
    ) as client:
        client.expect(f"listening on 0.0.0.0 port {port}.")
        client.expect(f"listening on 127.0.0.1 port {loopback}.")
        client.expect(f"Local connections to *:{port} forwarded to remote address localhost:1")
    with Forwarding(server, "-L", f"*:{port}:localhost:1") as client:
        client.expect(f"listening on 0.0.0.0 port {port}.")
