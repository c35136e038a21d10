"""UDP forwards: how many datagrams a second, what they add to the way, and what loss does to the others.

rate: datagrams of 200 bytes one way over loopback, sent at a steady rate; how many came, and how fast.
latency: one to and fro, over loopback, with and without the forward; half of the difference is what it adds one way.
loss: one every 10 ms to and fro on a link that loses some: of those that come back, how late the late ones are. Beside it the
same through ``-L`` of TCP, where each waits for those before it.
beside: a byte to and fro through ``-L`` of TCP, alone and while twice what the link carries comes through the UDP forward.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from bench import forward_target, udp_target
from bench.echoes import echo_ms
from bench.stage import Stage, Tool, summary
from bench.tables import markdown_table
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["measure", "table"]

SIZE = 200
RATES = (50_000, 100_000, 150_000, 200_000)
SECONDS = 3.0
SEGMENTS = 40
"""Datagrams per system call of the sender (UDP_SEGMENT): it must not be what is measured."""
UDP_SEGMENT = 103
RTT_MS, LOSS = 40, 0.02
RATE_MBIT = 10
QUEUE_BYTES = RATE_MBIT * 125 * RTT_MS
"""Of the link: what it carries in one round trip."""
LOCAL = 7003
LIMIT_S = 20.0


def measure(exchanges: int, repetitions: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with Stage() as stage, _target(stage, udp_target) as port:
        with _forwarding(stage, "udp/", port):
            rows += [_rate(stage, rate, repetitions) for rate in RATES]
            through = _exchanges(_udp(stage, LOCAL), exchanges * 10, 0.001)
        direct = _exchanges(_udp(stage, port), exchanges * 10, 0.001)
        rows.append(
            {"case": "latency", "direct_ms": summary(direct), "through_ms": summary(through)}
        )
    with Stage(Network.link(delay_ms=RTT_MS / 2, loss=LOSS)) as stage:
        for kind, target in (("udp/", udp_target), ("", forward_target)):
            with _target(stage, target) as port, _forwarding(stage, kind, port):
                times = _stream_of(stage, kind, exchanges * 5)
            sent = exchanges * 5
            rows.append(
                {
                    "case": "loss",
                    "kind": "udp" if kind else "tcp",
                    "rtt_ms": RTT_MS,
                    "loss": LOSS,
                    "answered": len(times) / sent,
                    "ms": summary(times),
                }
            )
    with Stage(Network.link(delay_ms=RTT_MS / 2, rate_mbit=RATE_MBIT, queue=QUEUE_BYTES)) as stage:
        rows.append(_beside(stage, exchanges))
    return rows


@contextlib.contextmanager
def _target(stage: Stage, program: ModuleType) -> Iterator[int]:
    words = [sys.executable, str(program.__file__), stage.host]
    words = stage.network.server.argv(words) if stage.network else words
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _forwarding(stage: Stage, kind: str, port: int, *options: str) -> Iterator[None]:
    own = Tool("qsh", "qshd", ("-N", "-L", f"{kind}{LOCAL}:{stage.host}:{port}", *options))
    client = subprocess.Popen(stage.argv(own), env=stage.env, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + LIMIT_S
        while True:
            with contextlib.suppress(OSError), _any(stage, kind) as sock:
                sock.settimeout(0.2)
                sock.send(b"e.")
                if sock.recv(10):
                    break
            if time.monotonic() > deadline:
                raise SystemExit("bench: qsh does not forward")
            time.sleep(0.1)
        time.sleep(1.0)  # the search for the path's MTU is over
        yield
    finally:
        client.terminate()
        client.wait()


def _beside(stage: Stage, exchanges: int) -> dict[str, Any]:
    with (
        _target(stage, udp_target) as port,
        _target(stage, forward_target) as tcp,
        _forwarding(stage, "udp/", port, "-L", f"{LOCAL}:{stage.host}:{tcp}"),
    ):
        quiet = _bytes(stage, exchanges)
        over = threading.Event()
        flood = threading.Thread(target=_flood, args=(_udp(stage, LOCAL), over))
        flood.start()
        time.sleep(2.0)
        beside = _bytes(stage, exchanges)
        over.set()
        flood.join()
    return {
        "case": "beside",
        "rate_mbit": RATE_MBIT,
        "rtt_ms": RTT_MS,
        "quiet_ms": summary(quiet),
        "beside_ms": summary(beside),
    }


def _flood(sock: socket.socket, over: threading.Event) -> None:
    """Twice what the link carries."""
    start, sent = time.perf_counter(), 0
    with sock:
        while not over.is_set():
            if sent < 2 * RATE_MBIT * 125_000 * (time.perf_counter() - start):
                sent += sock.send(b"d" + bytes(SIZE - 1))
            else:
                time.sleep(0.0002)


def _bytes(stage: Stage, count: int) -> list[float]:
    with _tcp(stage) as sock:
        return echo_ms(sock, count)


def _any(stage: Stage, kind: str) -> socket.socket:
    return _udp(stage, LOCAL) if kind else _tcp(stage)


def _udp(stage: Stage, port: int) -> socket.socket:
    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", port))
        sock.settimeout(LIMIT_S)
        return sock

    return stage.network.client.inside(make) if stage.network else make()  # type: ignore[no-any-return]


def _tcp(stage: Stage) -> socket.socket:
    assert stage.network is not None
    sock: socket.socket = stage.network.client.inside(
        lambda: socket.create_connection(("127.0.0.1", LOCAL), LIMIT_S)
    )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _rate(stage: Stage, rate: int, repetitions: int) -> dict[str, Any]:
    came: list[float] = []
    speeds: list[float] = []
    for _ in range(repetitions):
        with _udp(stage, LOCAL) as sock:
            _count(sock)
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SIZE)
            block = (b"d" + bytes(SIZE - 1)) * SEGMENTS
            start, sent = time.perf_counter(), 0
            while (passed := time.perf_counter() - start) < SECONDS:
                if sent < rate * passed:
                    sock.send(block)
                    sent += SEGMENTS
                else:
                    time.sleep(0.0001)
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            time.sleep(0.5)
            count, spent_s = _count(sock)
        came.append(count / sent)
        speeds.append(count / max(spent_s, 1e-6))
    return {"case": "rate", "wanted": rate, "came": summary(came), "per_s": summary(speeds)}


def _count(sock: socket.socket) -> tuple[int, float]:
    """Datagrams that came since it was asked last, and the time between the first and the last."""
    for _ in range(20):
        sock.settimeout(0.5)
        with contextlib.suppress(OSError):
            sock.send(b"?")
            words = sock.recv(100).split()
            return int(words[1]), int(words[2]) / 1e6
    raise SystemExit("bench: no answer through the forward")


def _exchanges(sock: socket.socket, count: int, pause_s: float) -> list[float]:
    times = []
    with sock:
        sock.settimeout(0.5)
        for _ in range(count):
            start = time.perf_counter()
            sock.send(b"e" + bytes(SIZE - 1))
            with contextlib.suppress(TimeoutError):
                sock.recv(SIZE)
                times.append((time.perf_counter() - start) * 1000)
            time.sleep(pause_s)
    return times


def _stream_of(stage: Stage, kind: str, count: int) -> list[float]:
    """A message every 10 ms, whether the others have come back or not."""
    sent: dict[int, float] = {}
    times: list[float] = []
    with _any(stage, kind) as sock, selectors.DefaultSelector() as selector:
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
        sock.send(b"e" if not kind else b"e" + bytes(SIZE - 1))
        start, rest = time.perf_counter() + 0.5, b""
        end = start + count * 0.01 + 2.0
        number = 0
        while (now := time.perf_counter()) < end:
            if number < count and now >= start + number * 0.01:
                number += 1
                sent[number] = now
                sock.send((b"e" + number.to_bytes(4, "big")).ljust(SIZE, b"."))
            if not selector.select(0.001):
                continue
            rest += sock.recv(65536)
            while len(rest) >= SIZE:
                message, rest = rest[:SIZE], rest[SIZE:]
                at = sent.pop(int.from_bytes(message[1:5], "big"), None)
                if at is not None:
                    times.append((time.perf_counter() - at) * 1000)
    return times


def table(rows: list[dict[str, Any]]) -> str:
    by_case: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_case.setdefault(row["case"], []).append(row)
    rates = [
        (f"{row['wanted']:,}/s", f"{row['per_s']['median']:,.0f}", f"{row['came']['median']:.3f}")
        for row in by_case["rate"]
    ]
    latency = [
        (name, row[key]["median"], row[key]["p99"])
        for row in by_case["latency"]
        for name, key in (("without a forward", "direct_ms"), ("through -L udp/", "through_ms"))
    ]
    loss = [
        (
            f"-L, {row['kind']}: {row['loss']:.0%} lost each way, RTT {row['rtt_ms']} ms",
            f"{row['answered']:.0%}",
            row["ms"]["median"],
            row["ms"]["p99"],
        )
        for row in by_case["loss"]
    ]
    beside = [
        (f"{name}, {row['rate_mbit']} Mbit/s", row[key]["median"], row[key]["p99"])
        for row in by_case["beside"]
        for name, key in (("alone", "quiet_ms"), ("beside a flood", "beside_ms"))
    ]
    return "\n\n".join(
        (
            markdown_table(("200 bytes, one way, loopback: sent", "came, /s", "part"), rates),
            markdown_table(("to and fro on loopback, ms", "median", "p99"), latency),
            markdown_table(("a message every 10 ms, ms", "answered", "median", "p99"), loss),
            markdown_table(("a byte to and fro through -L of TCP, ms", "median", "p99"), beside),
        )
    )
