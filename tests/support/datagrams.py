"""UDP sockets and targets on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LIMIT_S", "UdpTarget", "echoed", "exchange", "udp_peer"]

LIMIT_S = 20.0
AGAIN_S = 0.3


class UdpTarget:
    """Answers each datagram on loopback with what ``answer`` makes of it."""

    def __init__(
        self, answer: Callable[[bytes], bytes] = lambda data: data, host: str = "127.0.0.1"
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.sock.bind((host, 0))
        self.port = int(self.sock.getsockname()[1])
        self._answer = answer
        self.heard: list[bytes] = []
        self.peers: set[object] = set()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                data, peer = self.sock.recvfrom(70000)
                if data == b"\0end":
                    return
                self.heard.append(data)
                self.peers.add(peer)
                self.sock.sendto(self._answer(data), peer)
            except OSError:
                return

    def __enter__(self) -> UdpTarget:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError), udp_peer(self.port) as sock:
            sock.send(b"\0end")  # wakes the thread, which close() does not
        self.sock.close()


def udp_peer(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A socket that talks to this port."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, port))
    sock.settimeout(LIMIT_S)
    return sock


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """The answer; asked again as a resolver does, since datagrams may be lost."""
    sock.settimeout(AGAIN_S)
    for _ in range(int(LIMIT_S / AGAIN_S)):
        sock.send(data)
        with contextlib.suppress(TimeoutError):
            return sock.recv(70000)
    raise AssertionError("no answer")


def echoed(port: int, data: bytes = b"hello") -> bool:
    """Whether a new peer gets its datagram back."""
    with udp_peer(port) as sock:
        return exchange(sock, data) == data
