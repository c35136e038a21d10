"""How soon others are let in, and what the front's memory does, while somebody begins handshakes without end.

Each manner of it is a process of its own, python -m bench.abuse MANNER PORT NUMBER with a hello in hex on standard input, and as
fast as qshd reads. ``login_ms`` is a login and a command beside it, ``quiet_ms`` before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.stage import summary
from bench.tables import markdown_table
from tests.e2e.test_floods import unread
from tests.e2e.test_hostile_network import first_flight
from tests.support.forged_initial import Hello, crypto, hello_of, pieces
from tests.support.watched import Watched, attempt, somebody_else

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MANNERS", "measure", "table"]

NUMBER = 10_000
QUIET = 20
SOURCES = 200
AT_ONCE = 50
READ_S = 0.0005
DRIPPING = 1000
SMALLEST_MB = 1 << 20


def measure(number: int = NUMBER) -> list[dict[str, Any]]:
    rows = []
    for manner in MANNERS:
        with tempfile.TemporaryDirectory() as folder:
            server = Watched(Path(folder))
            try:
                rows.append({"tool": "qsh", "manner": manner, **_one(server, manner, number)})
            finally:
                server.stop()
    return rows


def _one(server: Watched, manner: str, number: int) -> dict[str, Any]:
    hello = hello_of(asyncio.run(first_flight(server)))
    assert hello is not None
    quiet = [_login_ms(server) for _ in range(QUIET)]
    before = most = server.memory()
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "bench.abuse", manner, str(server.port), str(number)],
        stdin=subprocess.PIPE,
        text=True,
    ) as attacker:
        assert attacker.stdin is not None
        attacker.stdin.write(f"{hello.data.hex()} {hello.source.hex()}\n")
        attacker.stdin.close()
        busy = []
        while attacker.poll() is None:
            busy.append(_login_ms(server))
            most = max(most, server.memory())
        lasted_s = time.perf_counter() - started
    assert attacker.returncode == 0
    attempt(server, somebody_else)
    return {
        "number": number,
        "lasted_s": round(lasted_s, 2),
        "quiet_ms": summary(quiet, 1),
        "login_ms": summary(busy, 1),
        "front_mb": {
            "before": round(before / SMALLEST_MB, 1),
            "most": round(most / SMALLEST_MB, 1),
            "after": round(server.memory() / SMALLEST_MB, 1),
        },
    }


def _login_ms(server: Watched) -> float:
    """One that is given up counts as long as it was waited for."""
    begun = time.perf_counter()
    with contextlib.suppress(TimeoutError):
        attempt(server, somebody_else)
    return (time.perf_counter() - begun) * 1000


# -- the attacker --------------------------------------------------------------------------------


def _whole(hello: Hello, number: int) -> Iterator[list[bytes]]:
    for _ in range(number):
        yield hello.flight()


def _half(hello: Hello, number: int) -> Iterator[list[bytes]]:
    for _ in range(number):
        yield hello.flight()[:1]


def _drip(hello: Hello, number: int) -> Iterator[list[bytes]]:
    """Byte by byte, a thousand by turns."""
    for _ in range(max(1, number // (10 * DRIPPING))):
        begun = [(hello.begin(), iter(pieces(hello.data, 1))) for _ in range(DRIPPING)]
        for _ in range(10):
            for initial, rest in begun:
                yield [initial.packet(next(rest))]


def _gaps(hello: Hello, number: int) -> Iterator[list[bytes]]:
    for _ in range(number // 50):
        initial = hello.begin()
        frames = [crypto(at, b"x") for at in range(15_000, 0, -2)]
        yield [initial.packet(*frames[at : at + 150]) for at in range(0, len(frames), 150)]


def _cut(hello: Hello, number: int) -> Iterator[list[bytes]]:
    """Transport parameters that end anywhere."""
    found = hello.parameters
    for at in range(number):
        yield hello.with_parameters(found[: at % len(found)]).flight()


MANNERS = {"whole": _whole, "half": _half, "drip": _drip, "gaps": _gaps, "cut": _cut}


def attack(manner: str, port: int, number: int) -> None:
    """From many addresses of loopback."""
    data, source = (bytes.fromhex(word) for word in sys.stdin.readline().split())
    sockets = []
    for at in range(SOURCES):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((f"127.1.{at // 250}.{at % 250 + 1}", 0))
        udp.connect(("127.0.0.1", port))
        sockets.append(udp)
    turns = itertools.cycle(sockets)
    for count, flight in enumerate(MANNERS[manner](Hello(data, source), number)):
        udp = next(turns)
        for datagram in flight:
            with contextlib.suppress(ConnectionRefusedError):
                udp.send(datagram)
        if count % AT_ONCE == 0:
            while unread(port):
                time.sleep(READ_S)


if __name__ == "__main__":
    attack(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))


def table(rows: list[dict[str, Any]]) -> str:
    return markdown_table(
        ("begun handshakes", "a second", "others' login, ms", "p99", "most", "before", "front's MB", "most", "after"),
        [
            (
                f"{row['manner']}, {row['number']}",
                round(row["number"] / row["lasted_s"]),
                row["login_ms"]["median"],
                row["login_ms"]["p99"],
                row["login_ms"]["max"],
                row["quiet_ms"]["median"],
                *row["front_mb"].values(),
            )
            for row in rows
        ],
    )  # fmt: skip
