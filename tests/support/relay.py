"""A slow path to a server on loopback, without root: UDP packets pass after a while, or not at all.

with Relay(server.port, delay_ms=75) as relay:
    subprocess.run(relay.through(server.command("true")))
    relay.cut = True
"""

from __future__ import annotations

import heapq
import itertools
import random
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Relay"]

PACKET_MAX = 65536
IDLE_S = 0.5


class Relay:
    """Each address of a client gets a socket of its own towards the server, as a NAT does it."""

    def __init__(self, port: int, *, delay_ms: float = 0.0, seed: int = 1) -> None:
        self.loss = 0.0
        """The probability for each packet."""
        self._chance = random.Random(seed)
        self.delay_ms = delay_ms
        """One way."""
        self.cut = False
        """Nothing passes, what is under way included."""
        self._server = ("127.0.0.1", port)
        self._near = _socket()
        self.port = int(self._near.getsockname()[1])
        self._far: dict[tuple[str, int], socket.socket] = {}
        self._flying: list[tuple[float, int, socket.socket, tuple[str, int], bytes]] = []
        self._address = "127.0.0.1"
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._near, selectors.EVENT_READ, None)
        self.sent: list[bytes] = []
        """To the server,"""
        self.got: list[bytes] = []
        """and from it; kept only after :meth:`keep`."""
        self._keeps = False
        self._ends = False
        self.moved = 0
        """How often the client got another address, in the server's eyes."""
        self._moves = False
        self._jams = False
        self._jammed: set[tuple[str, int]] = set()
        self.forges = False
        """The client's packets come from yet another port, and what the server sends there gets nowhere."""
        self.forged = 0
        """Packets that came from there."""
        self._forger = _socket()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def through(self, argv: Sequence[str]) -> list[str]:
        """A client's command line with this port instead of the server's."""
        return [str(self.port) if word == str(self._server[1]) else word for word in argv]

    def keep(self) -> None:
        """Keep what passes from now on."""
        self._keeps = True

    def inject(self, data: bytes) -> None:
        """To the server, as if it came from the client that was here last; whatever the delay, and also when the path is cut."""
        list(self._far.values())[-1].sendto(data, self._server)

    def move(self, address: str = "127.0.0.1") -> None:
        """What the client sends from now on comes from another port, and this address of loopback, as when a NAT forgets; what
        goes to the old one is lost.
        """
        self._address = address
        self._moves = True

    def jam(self) -> None:
        """Nothing passes from or to the addresses that clients have now: a NAT holds on to a way that is none any more."""
        self._jams = True

    def _run(self) -> None:
        while not self._ends:
            if self._moves:
                self._forget()
            if self._jams:
                self._jams = False
                self._jammed = set(self._far)
            timeout_s = IDLE_S
            if self._flying:
                timeout_s = max(0.0, self._flying[0][0] - time.monotonic())
            for key, _ in self._selector.select(timeout_s):
                self._take(key.fileobj, key.data)  # type: ignore[arg-type]
            self._deliver()

    def _take(self, sock: socket.socket, client: tuple[str, int] | None) -> None:
        while True:
            try:
                data, address = sock.recvfrom(PACKET_MAX)
            except BlockingIOError:
                return
            except OSError:
                continue  # nobody listens over there just now
            if client is not None:
                if client not in self._jammed:
                    self._send(self._near, client, data)
            elif address in self._jammed:
                continue
            elif self.forges:
                self.forged += 1
                self._send(self._forger, self._server, data)
            else:
                self._send(self._upstream(address), self._server, data)

    def _forget(self) -> None:
        self._moves = False
        while self._far:
            _, sock = self._far.popitem()
            self._selector.unregister(sock)
            sock.close()
            self.moved += 1

    def _upstream(self, client: tuple[str, int]) -> socket.socket:
        found = self._far.get(client)
        if found is None:
            found = self._far[client] = _socket(self._address)
            self._selector.register(found, selectors.EVENT_READ, client)
        return found

    def _send(self, sock: socket.socket, to: tuple[str, int], data: bytes) -> None:
        if self._keeps:
            (self.sent if to == self._server else self.got).append(data)
        if not self.cut and self._chance.random() >= self.loss:
            due = time.monotonic() + self.delay_ms / 1000
            heapq.heappush(self._flying, (due, next(self._numbers), sock, to, data))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._flying and self._flying[0][0] <= now:
            _, _, sock, to, data = heapq.heappop(self._flying)
            if not self.cut:
                try:
                    sock.sendto(data, to)
                except OSError:
                    continue  # lost, as packets are: its socket may be closed

    def close(self) -> None:
        """End it. Idempotent."""
        self._ends = True
        self._thread.join()
        self._selector.close()
        for sock in (self._near, self._forger, *self._far.values()):
            sock.close()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _socket(address: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    sock.setblocking(False)
    return sock
