"""Forwarded connections: bulk through -L, many at once through -D, and short exchanges beside a bulk copy.

bulk: one connection over veth with MTU 1500, from its first byte to its last.
parallel: connections through SOCKS, all begun at the same moment, on a link with delay. Set-up is the time to the first byte that
came back from the target, less one round trip: ssh says that a connection is there before it has asked for it.
mixed: a byte to and fro through -L, while a command of the same connection fills the link, and its queue, with its output.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from bench import forward_target
from bench.echoes import echo_ms
from bench.stage import OPENSSH, OPENSSH_GCM, QSH, Stage, Tool, summary
from bench.tables import BASE, markdown_table
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["measure", "table"]

BULK_TOOLS = (OPENSSH, OPENSSH_GCM, QSH)
TOOLS = (OPENSSH, QSH)
RTT_MS = 40
RATE_MBIT = 50
QUEUE_BYTES = RATE_MBIT * 1000 * RTT_MS // 8
"""Of the link: what it carries in one round trip, so that a copy that fills it costs the others as much again."""
LOCAL, SOCKS = 7001, 7002
LIMIT_S = 60.0


def measure(
    size_mib: int, connections: int, exchanges: int, repetitions: int
) -> list[dict[str, Any]]:
    rows = []
    with Stage(Network.veth()) as stage, _target(stage) as port:
        rows += _bulk(stage, port, size_mib, repetitions)
    with Stage(Network.link(delay_ms=RTT_MS / 2)) as stage, _target(stage) as port:
        rows += [_parallel(stage, tool, port, connections, repetitions) for tool in TOOLS]
    with (
        Stage(Network.link(delay_ms=RTT_MS / 2, rate_mbit=RATE_MBIT, queue=QUEUE_BYTES)) as stage,
        _target(stage) as port,
    ):
        rows += [_mixed(stage, tool, port, exchanges) for tool in TOOLS]
    return rows


@contextlib.contextmanager
def _target(stage: Stage) -> Iterator[int]:
    """Its port on the server's side."""
    assert stage.network is not None
    words = [sys.executable, forward_target.__file__, stage.network.server.ip4]
    process = stage.network.server.popen(words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _forwarding(stage: Stage, tool: Tool, port: int, command: str = "") -> Iterator[None]:
    """The tool's client with a -L and a -D, logged in."""
    options = ("-L", f"{LOCAL}:{stage.host}:{port}", "-D", str(SOCKS))
    own = Tool(tool.name, tool.server, (*tool.options, *options, *(() if command else ("-N",))))
    client = subprocess.Popen(
        stage.argv(own, *((command,) if command else ())),
        env=stage.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while True:
            with contextlib.suppress(OSError), _connect(stage) as sock:
                sock.sendall(b"e.")
                if sock.recv(1):
                    break
            if time.monotonic() > deadline or client.poll() is not None:
                raise SystemExit(f"bench: {tool.name} does not forward")
            time.sleep(0.05)
        yield
    finally:
        client.terminate()
        client.wait()


def _connect(stage: Stage, port: int = LOCAL) -> socket.socket:
    assert stage.network is not None
    sock: socket.socket = stage.network.client.inside(
        lambda: socket.create_connection(("127.0.0.1", port), LIMIT_S)
    )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


# -- bulk ----------------------------------------------------------------------------------------


def _bulk(stage: Stage, port: int, size_mib: int, repetitions: int) -> list[dict[str, Any]]:
    speeds: dict[tuple[str, str], list[float]] = {}
    for _ in range(repetitions):
        for tool in BULK_TOOLS:
            with _forwarding(stage, tool, port):
                for way in ("down", "up"):
                    speed = _transfer(stage, way, size_mib)
                    speeds.setdefault((tool.name, way), []).append(speed)
    return [
        {"case": "bulk", "tool": name, "way": way, "mb_per_s": summary(values)}
        for (name, way), values in speeds.items()
    ]


def _transfer(stage: Stage, way: str, size_mib: int) -> float:
    """MB/s."""
    buffer = bytearray(1 << 20)
    with _connect(stage) as sock:
        start = time.perf_counter()
        count = 0
        if way == "down":
            sock.sendall(f"d{size_mib}\n".encode())
            while received := sock.recv_into(buffer):
                count += received
        else:
            sock.sendall(b"u")
            for _ in range(size_mib):
                sock.sendall(buffer)
            sock.shutdown(socket.SHUT_WR)
            count = size_mib << 20 if sock.recv(1) else 0
        spent_s = time.perf_counter() - start
    if count != size_mib << 20:
        raise SystemExit(f"bench: {way}: {count} bytes of {size_mib << 20}")
    return count / 1e6 / spent_s


# -- many at once --------------------------------------------------------------------------------


def _parallel(
    stage: Stage, tool: Tool, port: int, connections: int, repetitions: int
) -> dict[str, Any]:
    single_ms: list[float] = []
    many_ms: list[float] = []
    failed = 0
    with _forwarding(stage, tool, port):
        for _ in range(20):
            single_ms += _echoes(stage, port, 1)
        for _ in range(repetitions):
            times = _echoes(stage, port, connections)
            failed += connections - len(times)
            many_ms += times
    return {
        "case": "parallel",
        "tool": tool.name,
        "rtt_ms": RTT_MS,
        "connections": connections,
        "failed": failed,
        "single_setup_ms": summary([ms - RTT_MS for ms in single_ms]),
        "setup_ms": summary([ms - RTT_MS for ms in many_ms]),
    }


class _Asking:
    """One connection through SOCKS 5 that sends a byte and waits for it."""

    def __init__(self, sock: socket.socket, host: str, port: int) -> None:
        self.sock, self.start, self.got = sock, time.perf_counter(), b""
        address = socket.inet_aton(host) + port.to_bytes(2, "big")
        self._steps = [
            (0, b"\x05\x01\x00"),
            (2, b"\x05\x01\x00\x01" + address),
            (12, b"e."),
        ]

    def go_on(self) -> bool:
        """Say what is due; whether the answer is there."""
        while self._steps and len(self.got) >= self._steps[0][0]:
            self.sock.send(self._steps.pop(0)[1])
        return len(self.got) > 12


def _echoes(stage: Stage, port: int, connections: int) -> list[float]:
    """Milliseconds to the first byte that came back, of those that did not fail."""
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        asking = _Asking(_connect(stage, SOCKS), stage.host, port)
        asking.sock.setblocking(False)
        asking.go_on()
        selector.register(asking.sock, selectors.EVENT_READ, asking)
    times = []
    deadline = time.monotonic() + LIMIT_S
    while selector.get_map() and time.monotonic() < deadline:
        for key, _ in selector.select(1.0):
            asking = key.data
            try:
                data = asking.sock.recv(64)
            except OSError:
                data = b""
            asking.got += data
            done = asking.go_on() if data else False
            if done:
                times.append((time.perf_counter() - asking.start) * 1000)
            if done or not data:
                selector.unregister(asking.sock)
                asking.sock.close()
    for key in list(selector.get_map().values()):
        key.data.sock.close()
    selector.close()
    return times


# -- beside a bulk copy --------------------------------------------------------------------------


def _mixed(stage: Stage, tool: Tool, port: int, exchanges: int) -> dict[str, Any]:
    with _forwarding(stage, tool, port):
        quiet_ms = _bytes(stage, exchanges)
    with _forwarding(stage, tool, port, "cat /dev/zero"):
        time.sleep(3.0)  # the copy has its speed
        busy_ms = _bytes(stage, exchanges)
    return {
        "case": "mixed",
        "tool": tool.name,
        "rtt_ms": RTT_MS,
        "rate_mbit": RATE_MBIT,
        "quiet_ms": summary(quiet_ms),
        "busy_ms": summary(busy_ms),
    }


def _bytes(stage: Stage, count: int) -> list[float]:
    with _connect(stage) as sock:
        return echo_ms(sock, count)


def table(rows: list[dict[str, Any]]) -> str:
    base = {row["way"]: row for row in rows if row["case"] == "bulk" and row["tool"] == BASE}
    bulk = [
        (
            f"-L, {row['way']}: {row['tool']}",
            f"{row['mb_per_s']['median']:.0f}",
            f"{row['mb_per_s']['min']:.0f}–{row['mb_per_s']['max']:.0f}",
            f"{row['mb_per_s']['median'] / base[row['way']]['mb_per_s']['median']:.2f}",
        )
        for row in rows
        if row["case"] == "bulk"
    ]
    parallel = [
        (
            f"{row['tool']}, RTT {row['rtt_ms']} ms",
            row["single_setup_ms"]["median"],
            f"{row['connections']}, {row['failed']} failed",
            row["setup_ms"]["median"],
            row["setup_ms"]["max"],
        )
        for row in rows
        if row["case"] == "parallel"
    ]
    mixed = [
        (
            f"{row['tool']}, RTT {row['rtt_ms']} ms, {row['rate_mbit']} Mbit/s",
            *(
                row[f"{when}_ms"][which]
                for when in ("quiet", "busy")
                for which in ("median", "p99")
            ),
        )
        for row in rows
        if row["case"] == "mixed"
    ]
    return "\n\n".join(
        (
            markdown_table(("one forwarded connection, veth", "MB/s", "min–max", "× ssh"), bulk),
            markdown_table(
                ("set-up through -D, ms", "one: median", "at once", "median", "max"), parallel
            ),
            markdown_table(
                (
                    "a byte to and fro through -L, ms",
                    "median",
                    "p99",
                    "beside a copy: median",
                    "p99",
                ),
                mixed,
            ),
        )
    )
