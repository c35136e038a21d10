"""A byte to and fro, again and again, with bench/forward_target.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

__all__ = ["echo_ms"]

PAUSE_S = 0.02


def echo_ms(sock: socket.socket, count: int) -> list[float]:
    """How long each took; the first one, which asks for echoes, is left out."""
    times = []
    sock.sendall(b"e.")
    sock.recv(1)
    for _ in range(count):
        start = time.perf_counter()
        sock.sendall(b".")
        sock.recv(1)
        times.append((time.perf_counter() - start) * 1000)
        time.sleep(PAUSE_S)
    return times
