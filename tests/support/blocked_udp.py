"""A server host before which UDP is blocked while clients are connected, and what they do meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from tests.support.procs import BIN
from tests.support.terminal import wait_until
from tests.support.uplink import Uplink, Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "DOWN",
    "IN_VAIN",
    "LEAVING",
    "LIMIT_S",
    "RETURNING",
    "TCP",
    "UP",
    "BlockedUdp",
    "Flow",
    "flow_of",
    "typing",
]

TABLE = "add table inet t; add chain inet t {0} {{ type filter hook {0} priority 0; }}; "
RULE = "add rule inet t {0} meta {1}name wan0 meta l4proto {2} drop; "
UP = (TABLE + RULE).format("input", "iif", "udp")
DOWN = (TABLE + RULE).format("output", "oif", "udp")
TCP = (TABLE + RULE).format("input", "iif", "tcp")
LEAVING = b"no answer by UDP: going on through "
RETURNING = b"UDP works: moving the connection there"
IN_VAIN = b"no answer by UDP; "
PACE_S = 0.01
BLOCK_BYTES = 20_000
LIMIT_S = 30.0
PAUSE_S = 0.05


class BlockedUdp(Uplink):
    """A server host before which UDP is blocked now and then, and one client."""

    options: tuple[str, ...] = ()
    """Of the client."""
    host = ""
    """As the client calls it; "": by its IPv4 address."""

    @property
    def log(self) -> Path:
        return self.files.home / "client.log"

    def work(self) -> Work:
        self.log.touch(0o666)
        host = self.network.server.ip4
        return Work(self, host, "-v", "-E", str(self.log), *self.options, pause_s=PAUSE_S)

    def popen(self, *options: str) -> subprocess.Popen[bytes]:
        """A cat."""
        self.log.touch(0o666)
        more = ("-v", "-E", str(self.log), *self.options, *options)
        command = self.files.qsh(
            self.host or self.network.server.ip4, self.port, "cat", options=more
        )
        pipe = subprocess.PIPE
        return self.network.client.popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=self.files.env
        )

    def block(self, rules: str = UP + DOWN) -> None:
        self.network.server.run(["nft", rules], check=True)

    def unblock(self) -> None:
        self.network.server.run(["nft", "flush ruleset"], check=True)

    def said(self, text: bytes) -> int:
        """How often the client has."""
        return self.log.read_bytes().count(text)

    def logins(self) -> int:
        return sum("Accepted " in line for line in self.daemon.log)

    def status(self) -> dict[str, object]:
        """Of the one client, as `qshctl status` has it."""
        done = self.network.client.run(
            [str(BIN / "qshctl"), "status", "--json"], capture_output=True, env=self.files.env
        )
        (row,) = json.loads(done.stdout)
        return dict(row)


def typing(work: Work, until: Callable[[], bool], what: str, word: str = "typed") -> None:
    """Somebody types on until it is so."""
    number, typed_s = 0, 0.0

    def type_and_look() -> bool:
        nonlocal number, typed_s
        if (now := time.monotonic()) - typed_s >= 0.1:
            work.type(f"{word}-{number} ")
            number, typed_s = number + 1, now
        return until()

    wait_until(type_and_look, what, limit_s=LIMIT_S)


class Flow:
    """Bytes both ways at once, through something that gives back what it gets."""

    def __init__(
        self,
        send: Callable[[bytes], object],
        receive: Callable[[], bytes],
        finish: Callable[[], object],
    ) -> None:
        self._send, self._receive, self._finish = send, receive, finish
        self._sent, self._received = hashlib.sha256(), hashlib.sha256()
        self.sent = self.received = 0
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self) -> None:
        while not self._over.wait(PACE_S):
            block = os.urandom(BLOCK_BYTES)
            self._send(block)
            self._sent.update(block)
            self.sent += len(block)
        self._finish()

    def _read(self) -> None:
        while data := self._receive():
            self._received.update(data)
            self.received += len(data)

    def await_more(self) -> None:
        """Until what is sent from now on has come back."""
        goal = self.sent + BLOCK_BYTES
        wait_until(lambda: self.received >= goal, "bytes", limit_s=LIMIT_S)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(LIMIT_S)
        assert (self.received, self._received.digest()) == (self.sent, self._sent.digest())


def flow_of(client: subprocess.Popen[bytes]) -> Flow:
    stdin, stdout = client.stdin, client.stdout
    assert stdin is not None
    assert stdout is not None
    return Flow(stdin.write, lambda: os.read(stdout.fileno(), 1 << 16), stdin.close)
