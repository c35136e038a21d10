"""Echo of a live session while strangers knock, 500 times a second.

qshd: QUIC handshakes to the end (TLS finished, key exchange done), then the client is gone. sshd: a TCP connection,
its greeting read, gone; it does no cryptography for these. ``all`` runs qshd with MaxStartups out of the way, so
that it has to answer every one; ``default`` is as it comes. The knocking takes CPU of the same machine; how much is
reported apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import time
from typing import Any

from bench.stage import OPENSSH, QSH, Stage, Terminal, Tool, summary
from bench.tables import markdown_table
from tests.support.netns import Network

RATE = 500
SECONDS = 10.0
KEY_INTERVAL_S = 0.02
SETTLE_S = 1.0
TIMEOUT_S = 2.0
ALL_SCHEMES = (0x0807, 0x0403, 0x0503, 0x0603, 0x0806, 0x0804)
OPEN = "MaxStartups 100000:30:100000\nPerSourceMaxStartups none\nPerSourcePenalties no\n"


def measure(rate: int = RATE, seconds: float = SECONDS) -> list[dict[str, Any]]:
    rows = []
    for limits, text in (("default", ""), ("all", OPEN)):
        with Stage(Network.veth(), server=text) as stage:
            rows += [
                {"tool": tool.name, "limits": limits} | _one(stage, tool, rate, seconds)
                for tool in (OPENSSH, QSH)
            ]
    return rows


def _one(stage: Stage, tool: Tool, rate: int, seconds: float) -> dict[str, Any]:
    assert stage.network is not None
    terminal = Terminal(stage, tool)
    try:
        terminal.prompt()
        terminal.type(b"stty raw -echo; printf n%s ow; cat\r")
        terminal.expect(b"now", 10)
        quiet = _echoes_ms(terminal, seconds / 2)
        load = stage.network.client.popen(
            [
                *(sys.executable, "-m", "bench.storm", tool.server, stage.host),
                *(str(stage.daemons[tool.server].port), str(rate), str(seconds + SETTLE_S)),
            ],
            stdout=subprocess.PIPE,
        )
        time.sleep(SETTLE_S)
        busy = _echoes_ms(terminal, seconds)
        assert load.stdout is not None
        with load.stdout:
            report = json.loads(load.stdout.read() or b"{}")
        load.wait(30)
        if not report.get("done"):
            raise SystemExit(f"bench: nobody knocked: {report}")
    finally:
        terminal.close()
    return {"quiet_ms": summary(quiet, 2), "storm_ms": summary(busy, 2), "load": report}


def _echoes_ms(terminal: Terminal, seconds: float) -> list[float]:
    found = []
    end = time.perf_counter() + seconds
    number = 0
    while (now := time.perf_counter()) < end:
        key = b"abcdefghij"[number % 10 : number % 10 + 1]
        terminal.type(key)
        found.append((terminal.expect(key, 10) - now) * 1000)
        number += 1
        time.sleep(KEY_INTERVAL_S)
    return found


async def _knock_udp(host: str, port: int, counters: dict[str, int], endpoint: Any) -> None:
    from qsh.errors import QshError

    try:
        connection = await endpoint.connect(
            host, port, server_name="bench", schemes=ALL_SCHEMES, timeout_s=TIMEOUT_S
        )
    except QshError as error:
        counters["refused"] += 1
        counters.setdefault(str(error)[:80], 0)
        counters[str(error)[:80]] += 1
        return
    counters["done"] += 1
    connection.close()


async def _knock_tcp(host: str, port: int, counters: dict[str, int]) -> None:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                counters["done" if await reader.readline() else "refused"] += 1
    except (OSError, TimeoutError):
        counters["refused"] += 1


async def _load(server: str, host: str, port: int, rate: int, seconds: float) -> dict[str, Any]:
    counters = {"offered": 0, "done": 0, "refused": 0}
    async with contextlib.AsyncExitStack() as stack:
        endpoint = None
        if server == "qshd":
            from qsh.quic import Driver, client_endpoint, client_socket

            driver = await stack.enter_async_context(Driver())
            with client_socket(host) as udp:
                endpoint = client_endpoint(driver, udp)
        start = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        while (now := time.monotonic()) < start + seconds:
            while counters["offered"] < (now - start) * rate:
                counters["offered"] += 1
                knock = (
                    _knock_tcp(host, port, counters)
                    if endpoint is None
                    else _knock_udp(host, port, counters, endpoint)
                )
                task = asyncio.create_task(knock)
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.002)
        await asyncio.gather(*tasks)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {**counters, "seconds": seconds, "cpu_s": round(usage.ru_utime + usage.ru_stime, 1)}


if __name__ == "__main__":
    _server, _host, _port, _rate, _seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(_load(_server, _host, int(_port), int(_rate), float(_seconds)))))


def table(rows: list[dict[str, Any]]) -> str:
    return markdown_table(
        ("echo of a live session, ms", "quiet median", "quiet p99", "storm median", "storm p99", "max",
         "knocks done/s", "knocker's CPU s"),
        [
            (
                f"{row['tool']}, MaxStartups {row['limits']}",
                row["quiet_ms"]["median"],
                row["quiet_ms"]["p99"],
                row["storm_ms"]["median"],
                row["storm_ms"]["p99"],
                row["storm_ms"]["max"],
                f"{row['load']['done'] / row['load']['seconds']:.0f} of {row['load']['offered'] / row['load']['seconds']:.0f}",
                row["load"]["cpu_s"],
            )
            for row in rows
        ],
    )  # fmt: skip
