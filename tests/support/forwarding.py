"""A qsh that only forwards, and targets for it to lead to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
import subprocess
import threading
from typing import TYPE_CHECKING

from tests.support.procs import free_port
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.live_server import LiveServer

__all__ = [
    "LIMIT_S",
    "Forwarding",
    "Target",
    "close_hard",
    "connect",
    "digest",
    "echo",
    "forwarded",
    "free_tcp_port",
    "read",
    "read_all",
    "socks5",
]

LIMIT_S = 20.0


def free_tcp_port() -> int:
    """A port on which nobody listens now."""
    return free_port(socket.SOCK_STREAM)


def connect(where: int | Path) -> socket.socket:
    """A connection to a port on loopback, or to a unix socket."""
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where), LIMIT_S)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(LIMIT_S)
    sock.connect(os.fspath(where))
    return sock


def read(sock: socket.socket, count: int) -> bytes:
    """So many bytes, fewer only at the end. (MSG_WAITALL means nothing for a socket with a timeout.)"""
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def read_all(sock: socket.socket) -> bytes:
    """Everything up to the end."""
    parts = []
    while data := sock.recv(1 << 20):
        parts.append(data)
    return b"".join(parts)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def close_hard(sock: socket.socket) -> None:
    """With a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def socks5(port: int, host: str, target_port: int) -> socket.socket:
    """Connected through a SOCKS 5 server; AssertionError with its answer if it was refused."""
    sock = connect(port)
    name = host.encode()
    sock.sendall(b"\x05\x01\x00")
    assert read(sock, 2) == b"\x05\x00"
    sock.sendall(b"\x05\x01\x00\x03" + bytes((len(name),)) + name + target_port.to_bytes(2, "big"))
    answer = read(sock, 10)
    if answer[1:2] != b"\0":
        sock.close()
    assert answer[:2] == b"\x05\x00", answer
    return sock


class Target:
    """Listens on loopback (or at ``path``) and gives each connection to ``serve`` in a thread of its own."""

    def __init__(
        self, serve: Callable[[socket.socket], object], path: Path | None = None, port: int = 0
    ) -> None:
        if path is None:
            self._sock = socket.create_server(("127.0.0.1", port), backlog=512)
            self.port = int(self._sock.getsockname()[1])
        else:
            self._sock = socket.socket(socket.AF_UNIX)
            self._sock.bind(os.fspath(path))
            self._sock.listen(512)
        self._serve = serve
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock: socket.socket) -> None:
        sock.settimeout(LIMIT_S)
        with contextlib.suppress(OSError), sock:
            self._serve(sock)

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def echo(sock: socket.socket) -> None:
    """Send back whatever comes, until the end."""
    while data := sock.recv(65536):
        sock.sendall(data)


class Forwarding:
    """``qsh -N`` with these options, logged in."""

    def __init__(self, server: LiveServer, *options: str, level: str = "-v") -> None:
        self.log: list[str] = []
        self.process = subprocess.Popen(
            server.command(options=("-N", level, *options)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=server.env,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.expect("Authenticated to ")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def expect(self, text: str, count: int = 1) -> str:
        """Wait until so many lines with this text were said; the last of them."""

        def found() -> list[str]:
            return [line for line in self.log if text in line]

        def there() -> bool:
            assert self.process.poll() is None or len(found()) >= count, self.log
            return len(found()) >= count

        wait_until(there, text)
        return found()[-1]

    def __enter__(self) -> Forwarding:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def forwarded(
    server: LiveServer, serve: Callable[[socket.socket], object]
) -> Iterator[tuple[int, Forwarding]]:
    """A port here that leads to ``serve``."""
    port = free_tcp_port()
    with (
        Target(serve) as target,
        Forwarding(server, "-L", f"{port}:127.0.0.1:{target.port}") as client,
    ):
        yield port, client
