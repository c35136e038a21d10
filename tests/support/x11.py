"""Displays to forward: a real one without a screen, and one that only looks at who connects."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import subprocess
from typing import TYPE_CHECKING

from tests.support.forwarding import Target, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MAGIC", "FakeDisplay", "Xvfb", "connect_x11", "setup"]

MAGIC = b"MIT-MAGIC-COOKIE-1"


def setup(cookie: bytes, protocol: bytes = MAGIC, order: str = "<") -> bytes:
    """How an X11 connection begins."""
    header = struct.pack(
        f"{order}BxHHHHxx", ord("l" if order == "<" else "B"), 11, 0, len(protocol), len(cookie)
    )
    return header + padded(protocol) + padded(cookie)


def padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 4)


class _Xauth:
    """A display's number, and a file that has its cookie."""

    display = ""

    def __init__(self, folder: Path) -> None:
        self.cookie = secrets.token_bytes(16)
        self.file = folder / f"xauth-{self.cookie.hex()}"

    def write(self, display: str) -> None:
        argv = ["xauth", "-q", "-f", str(self.file), "add", display, MAGIC, self.cookie.hex()]
        subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)

    @property
    def env(self) -> dict[str, str]:
        """For its clients."""
        return {"DISPLAY": self.display, "XAUTHORITY": str(self.file)}


class Xvfb(_Xauth):
    """Runs until the end of the ``with`` block."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write(":0")  # the server reads the cookie alone
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [
                *("Xvfb", "-displayfd", str(writer), "-auth", self.file, "-nolisten", "tcp"),
                *("-noreset", "-screen", "0", "640x480x8", "+extension", "SECURITY"),
            ],
            pass_fds=[writer],
            stderr=subprocess.DEVNULL,
        )
        os.close(writer)
        with open(reader) as file:
            self.display = f":{int(file.readline())}"
        self.write(self.display)

    def __enter__(self) -> Xvfb:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


class FakeDisplay(_Xauth):
    """Says ``hello`` to everybody, and what it was shown."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shown: list[bytes] = []
        for number in _numbers():
            try:
                self._target = Target(self._serve, port=6000 + number)
            except OSError:
                continue
            self.display = f"127.0.0.1:{number}.1"
            break
        self.write(self.display)

    def _serve(self, sock: socket.socket) -> None:
        header = read(sock, 12)
        order = ">" if header[:1] == b"B" else "<"
        name, cookie = struct.unpack(f"{order}HH", header[6:10])
        body = read(sock, name + -name % 4 + cookie + -cookie % 4)
        self.shown.append(header + body)
        sock.sendall(b"hello")
        while data := sock.recv(65536):
            sock.sendall(data)

    def __enter__(self) -> FakeDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self._target.__exit__()


def _numbers() -> Iterator[int]:
    yield from range(500, 600)


def connect_x11(display: str, data: bytes) -> socket.socket:
    """To the sockets of a display on TCP, saying this first."""
    number = int(display.rpartition(":")[2].partition(".")[0])
    sock = socket.create_connection(("127.0.0.1", 6000 + number), 20.0)
    sock.sendall(data)
    return sock
