"""Programs that speak UDP, through a UDP forward: a resolver and a VPN."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.forwarding import Forwarding
from tests.support.live_server import LiveServer, free_port
from tests.support.netns import Network
from tests.support.procs import Daemon, Files, LoginUser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.netns import Side

LIMIT_S = 30.0
LONG = "x" * 250


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


@pytest.fixture
def name_server() -> Iterator[int]:
    port = free_port()
    words = ["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]
    words += [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root"]
    words += ["--edns-packet-max=4096", "--address=/qsh.test/192.0.2.7"]
    words += [f"--txt-record=long.test,{','.join([LONG] * 8)}"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert b"started" in process.stderr.readline()
    yield port
    process.kill()
    process.wait()
    process.stderr.close()


def dig(port: int, *words: str) -> str:
    command = ["dig", "@127.0.0.1", "-p", str(port), "+short", "+tries=1", "+notcp", "+ignore"]
    done = subprocess.run([*command, *words], capture_output=True, timeout=LIMIT_S, check=True)
    return done.stdout.decode().strip()


@pytest.mark.root
@pytest.mark.tool("dig", "dnsmasq")
def test_dig(server: LiveServer, name_server: int) -> None:
    port = free_port()
    with Forwarding(server, "-L", f"udp/{port}:127.0.0.1:{name_server}"):
        for _ in range(3):
            assert dig(port, "qsh.test") == "192.0.2.7"
        assert dig(port, "long.test", "TXT", "+bufsize=4096") == " ".join([f'"{LONG}"'] * 8)


class WireGuard:
    """One end: wireguard-go with a TUN device of its own, in a side of a network."""

    def __init__(self, side: Side, folder: Path, address: str, port: int) -> None:
        self.side, self.name, self.port = side, f"wgq{os.getpid() % 10**6}{address[-1]}", port
        self.key_file = folder / f"key-{address}"
        key = subprocess.run(["wg", "genkey"], capture_output=True, check=True).stdout
        self.key_file.write_bytes(key)
        self.key_file.chmod(0o600)
        self.public = (
            subprocess.run(["wg", "pubkey"], input=key, capture_output=True, check=True)
            .stdout.decode()
            .strip()
        )
        self.process = side.popen(
            ["wireguard-go", "--foreground", self.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + LIMIT_S
        while side.run(["wg", "show", self.name], capture_output=True).returncode:
            assert time.monotonic() < deadline, "wireguard-go does not start"
        self._do(
            "wg", "set", self.name, "private-key", str(self.key_file), "listen-port", str(port)
        )
        self._do("ip", "address", "add", f"{address}/24", "dev", self.name)
        self._do("ip", "link", "set", self.name, "up")

    def meet(self, other: WireGuard, address: str, endpoint: int | None) -> None:
        words = ["wg", "set", self.name, "peer", other.public, "allowed-ips", f"{address}/32"]
        if endpoint is not None:
            words += ["endpoint", f"127.0.0.1:{endpoint}"]
        self._do(*words)

    def _do(self, *words: str) -> None:
        self.side.run(list(words), check=True, capture_output=True, timeout=LIMIT_S)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(LIMIT_S)


@pytest.mark.root
@pytest.mark.tool("wireguard-go", "wg", "ping")
def test_wireguard(tmp_path: Path) -> None:
    """Its packets are as large as the path's, so that some go by datagrams and some by the stream."""
    here, there, to, port = "10.91.7.1", "10.91.7.2", 51820, 51999
    with (
        LoginUser() as user,
        Files(user.name) as files,
        Network.veth() as network,
        Daemon.qshd(files, side=network.server) as daemon,
    ):
        near = WireGuard(network.client, tmp_path, here, 51821)
        far = WireGuard(network.server, tmp_path, there, to)
        options = ("-N", "-L", f"udp/{port}:127.0.0.1:{to}")
        words = files.qsh(network.server.ip4, daemon.port, options=options)
        forward = network.client.popen(words, env=files.env)
        try:
            far.meet(near, here, None)
            near.meet(far, there, port)
            ping = ["ping", "-n", "-c", "3", "-i", "0.2", "-w", "20"]
            for size in ("56", "1300"):
                done = network.client.run([*ping, "-s", size, there], capture_output=True)
                assert done.returncode == 0, done.stdout
            data = os.urandom(2_000_000)
            listener = network.server.inside(socket.socket)
            listener.bind((there, 0))
            listener.listen()
            sender = network.client.inside(socket.socket)
            sender.settimeout(LIMIT_S)
            sender.connect(listener.getsockname())
            receiver, _ = listener.accept()
            with listener, sender, receiver:
                receiver.settimeout(LIMIT_S)
                got = bytearray()
                sender.setblocking(False)
                sent = 0
                while len(got) < len(data):
                    try:
                        sent += sender.send(data[sent : sent + 65536])
                    except BlockingIOError:
                        pass
                    receiver.settimeout(LIMIT_S if sent == len(data) else 0.05)
                    try:
                        got += receiver.recv(1 << 20)
                    except TimeoutError:
                        assert sent < len(data)
                assert got == data
        finally:
            forward.kill()
            forward.wait()
            near.close()
            far.close()
