"""qsh across a network: two hosts, a qshd as root, two users."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.forwarding import free_tcp_port
from tests.support.netns import Network
from tests.support.procs import Daemon, Files, LoginUser, free_port
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

LIMIT_S = 60.0
BULK = 64 * 1024 * 1024


class Site:
    """A server host with qshd, seen from a client host."""

    def __init__(self, network: Network, files: Files, daemon: Daemon) -> None:
        self.network, self.files, self.daemon = network, files, daemon

    def run(
        self, *words: str, host: str = "", stdin: bytes = b"", user: str = ""
    ) -> subprocess.CompletedProcess[bytes]:
        target = host or self.network.server.ip4
        if user:
            target = f"{user}@{target}"
        return self.network.client.run(
            self.files.qsh(target, self.daemon.port, *words),
            input=stdin,
            capture_output=True,
            timeout=LIMIT_S,
            env=self.files.env,
        )


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with LoginUser() as user, Files(user.name) as files, Network.veth() as network:
        with Daemon.qshd(files, side=network.server) as daemon:
            yield Site(network, files, daemon)


@pytest.mark.parametrize("family", ["ip4", "ip6"])
def test_both_families(site: Site, family: str) -> None:
    host = getattr(site.network.server, family)
    done = site.run("echo $SSH_CONNECTION; exit 5", host=host)
    assert done.returncode == 5, done.stderr
    client, _, server, port = done.stdout.decode().split()
    assert (client, server) == (getattr(site.network.client, family), host)
    assert int(port) == site.daemon.port


def test_a_second_user(site: Site) -> None:
    with LoginUser() as other:
        done = site.run("id -un", user=other.name)
        assert done.stdout.decode().strip() == other.name
        assert site.run("id -un").stdout.decode().strip() == site.files.user


def test_bulk_both_ways_whole(site: Site) -> None:
    data = hashlib.shake_256(b"bulk").digest(1 << 20) * (BULK >> 20)
    digest = hashlib.sha256(data).hexdigest()
    up = site.run("sha256sum", stdin=data)
    assert up.stdout.decode().split()[0] == digest
    both = site.run("cat", stdin=data)
    assert hashlib.sha256(both.stdout).hexdigest() == digest


def test_nothing_of_ours_goes_to_a_host_with_another_key(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    known = site.files.home / "known_hosts"
    before = known.read_text()
    known.write_text("* " + " ".join(other.with_suffix(".pub").read_text().split()[:2]) + "\n")
    logged = len(site.daemon.log)
    try:
        done = site.run("true")
    finally:
        known.write_text(before)
    assert done.returncode == 255
    assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    assert b"Host key verification failed." in done.stderr
    assert not [line for line in site.daemon.log[logged:] if "publickey" in line]


def test_no_answer_names_the_port_and_what_to_open(site: Site) -> None:
    command = site.files.qsh(site.network.server.ip4, 9, "-o", "ConnectTimeout=1", "true")
    done = site.network.client.run(
        command, capture_output=True, timeout=LIMIT_S, env=site.files.env
    )
    assert done.returncode == 255
    assert b"UDP" in done.stderr
    assert b"9" in done.stderr


def test_a_lossy_link() -> None:
    with LoginUser() as user, Files(user.name) as files:
        with Network.link(delay_ms=20, loss=0.05) as network:
            with Daemon.qshd(files, side=network.server) as daemon:
                site = Site(network, files, daemon)
                done = site.run("cat; echo end; exit 3", stdin=bytes(300_000))
                assert done.returncode == 3, done.stderr
                assert done.stdout == bytes(300_000) + b"end\n"


def test_a_byte_gets_through_beside_a_copy_that_fills_the_link() -> None:
    """The copy takes all room for sending whenever there is some: the other stream must not wait for ever."""
    with LoginUser() as user, Files(user.name) as files:
        with Network.link(delay_ms=20, rate_mbit=50, queue=250_000) as network:
            with Daemon.qshd(files, side=network.server) as daemon:
                port, host = free_tcp_port(), network.server.ip4
                listening = network.server.inside(lambda: socket.create_server((host, 0)))
                forward = f"{port}:{host}:{listening.getsockname()[1]}"
                options = ("-o", "ExitOnForwardFailure=yes", "-L", forward)
                copy = network.client.popen(
                    files.qsh(host, daemon.port, "cat /dev/zero", options=options),
                    env=files.env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
                with listening:
                    with _connected(network, port) as ours, listening.accept()[0] as theirs:
                        for sock in (ours, theirs):
                            sock.settimeout(LIMIT_S / 4)
                        wait_until(lambda: network.counters()["down"]["overflow"] > 0)
                        for number in range(40):
                            theirs.sendall(bytes((number,)))
                            assert ours.recv(1) == bytes((number,))
                copy.kill()
                copy.wait()


def _connected(network: Network, port: int) -> socket.socket:
    found: list[socket.socket] = []

    def connect() -> bool:
        try:
            found.append(
                network.client.inside(
                    lambda: socket.create_connection(("127.0.0.1", port), LIMIT_S)
                )
            )
        except ConnectionRefusedError:
            return False
        return True

    wait_until(connect)
    return found[0]


def test_a_shared_connection_roams(tmp_path: Path) -> None:
    """Another address on the client's side: the master's connection migrates, and what runs on it goes on."""
    shared = ("-oControlMaster=auto", "-oControlPersist=yes", f"-oControlPath={tmp_path}/cp")
    with LoginUser() as user, Files(user.name) as files, Network.veth() as network:
        with Daemon.qshd(files, side=network.server) as daemon:

            def words(*command: str) -> list[str]:
                return files.qsh(network.server.ip4, daemon.port, *command, options=shared)

            client = network.client.popen(
                words("echo there; cat"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=files.env,
            )
            assert client.stdin is not None
            assert client.stdout is not None
            assert client.stdout.readline() == b"there\n"
            network.client.change_address("10.77.9.9")
            client.stdin.write(b"to and fro\n")
            client.stdin.flush()
            assert client.stdout.readline() == b"to and fro\n"
            run = network.client.run
            done = run(words("echo $$"), capture_output=True, env=files.env, timeout=LIMIT_S)
            assert done.returncode == 0
            client.stdin.close()
            assert client.wait(LIMIT_S) == 0
            client.stdout.close()
            run(words("-O", "exit"), capture_output=True, env=files.env, timeout=LIMIT_S)


def test_a_flood_of_datagrams_leaves_room_for_streams() -> None:
    """More than the link carries, in datagrams that fill packets: quinn sends these before any stream's data."""
    with (
        LoginUser() as user,
        Files(user.name) as files,
        Network.link(delay_ms=10, rate_mbit=10, queue=25_000) as network,
        Daemon.qshd(files, side=network.server) as daemon,
    ):
        port = free_port(socket.SOCK_DGRAM)
        sink = network.server.inside(lambda: socket.socket(type=socket.SOCK_DGRAM))
        sink.bind((network.server.ip4, 0))
        sink.settimeout(LIMIT_S)
        options = ("-L", f"udp/{port}:{network.server.ip4}:{sink.getsockname()[1]}")
        words = files.qsh(network.server.ip4, daemon.port, "cat; echo end", options=options)
        client = network.client.popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=files.env
        )
        assert client.stdin is not None
        assert client.stdout is not None
        over = threading.Event()
        flood = threading.Thread(target=send_without_pause, args=(network, port, over))
        try:
            client.stdin.write(b"ready\n")
            client.stdin.flush()
            assert client.stdout.readline() == b"ready\n"
            flood.start()
            heard = 0
            while heard < 2_500_000:  # two seconds of all that the link carries: it is full
                heard += len(sink.recv(2000))
            for number in range(20):
                client.stdin.write(b"%d\n" % number)
                client.stdin.flush()
                assert client.stdout.readline() == b"%d\n" % number
            client.stdin.close()
            assert client.stdout.read() == b"end\n"
            assert client.wait(LIMIT_S) == 0
        finally:
            over.set()
            flood.join()
            client.kill()
            client.wait()
            with contextlib.suppress(OSError):
                client.stdin.close()
            client.stdout.close()
            sink.close()


def send_without_pause(network: Network, port: int, over: threading.Event) -> None:
    sock = network.client.inside(lambda: socket.socket(type=socket.SOCK_DGRAM))
    with sock:
        while not over.is_set():
            sock.sendto(bytes(200), ("127.0.0.1", port))
