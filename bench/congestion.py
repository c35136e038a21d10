"""Congestion control: simulated links (native/examples/congestion_grid.rs), and in real time copies over lossy links and keys
beside a copy.

A copy goes up for ``SECONDS`` after its first byte has arrived; its rate is that of the bytes in the file on the far side.
Keys beside a copy are those of ``raw`` in keys.py, typed over another connection of the same tool through the same queue.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.keys import Found, start_answering, type_raw
from bench.stage import OPENSSH, QSH, Stage, Tool
from bench.tables import by_tool, figure
from bench.tracked_terminal import TrackedTerminal
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["beside_copy", "beside_copy_table", "measure", "simulated", "table"]

MANIFEST = Path(__file__).parents[1] / "native" / "Cargo.toml"
EXAMPLE = ("--quiet", "--release", "--locked", "--example", "congestion_grid", "--manifest-path")
SECONDS = 5.0
LIMIT_S = 20.0
FILL_S = 6.0
"""Until a copy has filled the queue."""
LINKS = ((100, 100, 0.01, 1500), (50, 40, 0.001, 500), (20, 100, 0.05, 500))
"""Mbit/s, ms, loss each way, packets between the ends."""
OWN = Tool("qsh own", "qshd", ("-o", "QshCongestion=own"))
CUBIC = Tool("qsh cubic", "qshd", ("-o", "QshCongestion=cubic"))
TOOLS = (OPENSSH, CUBIC, OWN)
SLOW = {"rate_mbit": 10, "delay_ms": 50, "queue_packets": 500}


def simulated(controllers: tuple[str, ...] = ("cubic", "own")) -> list[dict[str, Any]]:
    return [
        {"what": what, **json.loads(line)}
        for what in ("grid", "aside", "odd", "goals", "share", "many")
        for controller in controllers
        for line in subprocess.run(
            ["cargo", "run", *EXAMPLE, str(MANIFEST), "--", what, controller],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout.splitlines()
    ]


def measure(tools: Sequence[Tool] = (), seconds: float = SECONDS) -> list[dict[str, Any]]:
    """``tools`` come before ssh and qsh with each of its controllers."""
    return list(_copies(with_ours(tools), seconds))


def with_ours(tools: Sequence[Tool]) -> list[Tool]:
    """The terminal's peers (mosh copies nothing), then those that are measured always."""
    return [*(tool for tool in tools if tool.exec and tool not in (OPENSSH, QSH)), *TOOLS]


def _copies(tools: Sequence[Tool], seconds: float) -> Iterator[dict[str, Any]]:
    with Stage(Network.link()) as stage:
        network = stage.network
        assert network is not None
        for rate, rtt, loss, packets in LINKS:
            network.set(
                rate_mbit=rate,
                delay_ms=rtt / 2,
                loss=loss,
                queue_packets=packets + rate * rtt // 24,
            )
            for tool in tools:
                yield {
                    "tool": tool.name,
                    "mbit": rate,
                    "rtt_ms": rtt,
                    "loss": loss,
                    "queue_packets": packets,
                    "goodput_mbit": round(_copy_mbit(stage, tool, seconds), 2),
                }


def beside_copy(tools: Sequence[Tool], keys: int) -> list[dict[str, Any]]:
    """Keys beside a copy up on a link of 10 Mbit, 100 ms, 500 packets."""
    rows = []
    for tool in with_ours(tools):
        found = Found()
        with Stage(Network.link(**SLOW)) as stage:
            terminal = TrackedTerminal(stage, tool)
            try:
                terminal.await_prompt()
                start_answering(stage, terminal)
                with _copy(stage, tool) as path:
                    terminal.pass_time(FILL_S)
                    before, start = path.stat().st_size, time.monotonic()
                    type_raw(terminal, found, keys)
                    bits = (path.stat().st_size - before) * 8
                    mbit = bits * 1e-6 / (time.monotonic() - start)
            finally:
                terminal.close()
        rows.append({"tool": tool.name, **found.row(), "copy_mbit": round(mbit, 2)})
    return rows


@contextlib.contextmanager
def _copy(stage: Stage, tool: Tool) -> Iterator[Path]:
    """A copy up whose first byte has arrived, in that file."""
    path = Path(tempfile.gettempdir(), f"qsh-bench-{os.getpid()}")
    path.unlink(missing_ok=True)
    with open("/dev/zero", "rb") as source:
        client = subprocess.Popen(
            stage.argv(tool, f"dd of={path} bs=64k status=none"), stdin=source, env=stage.env
        )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not (path.exists() and path.stat().st_size):
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: {tool.name} copies nothing")
            time.sleep(0.01)
        yield path
    finally:
        client.kill()
        client.wait()
        path.unlink(missing_ok=True)


def _copy_mbit(stage: Stage, tool: Tool, seconds: float) -> float:
    with _copy(stage, tool) as path:
        time.sleep(seconds)
        return path.stat().st_size * 8e-6 / seconds


def table(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        link = f"{row['mbit']} Mbit, {row['rtt_ms']} ms, {row['loss']:.1%} loss, queue {row['queue_packets']}"
        yield link, figure(row, "goodput_mbit"), ""

    return by_tool("one copy up: Mbit", rows, line)


def beside_copy_table(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        numbers = " / ".join(figure(row["ms"], name) for name in ("median", "p95"))
        yield "a key, ms: median / p95", numbers, "≤ 110 / 130"
        yield "keys missing", str(row["missing"]), "0"
        yield "the copy: Mbit", figure(row, "copy_mbit"), "≥ 9"

    return by_tool("10 Mbit, 100 ms, queue 500, beside one's own copy up", rows, line)
