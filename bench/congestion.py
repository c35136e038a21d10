"""Congestion control: simulated links (native/examples/congestion_grid.rs), and bulk copies in real time over lossy links.

A copy goes up for ``SECONDS`` after its first byte has arrived; its rate is that of the bytes in the file on the far side.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.stage import Stage, Tool
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["measure", "simulated"]

MANIFEST = Path(__file__).parents[1] / "native" / "Cargo.toml"
EXAMPLE = ("--quiet", "--release", "--locked", "--example", "congestion_grid", "--manifest-path")
SECONDS = 8.0
LIMIT_S = 20.0
LINKS = ((100, 100, 0.01, 1500), (50, 40, 0.001, 500), (20, 100, 0.05, 500))
"""Mbit/s, ms, loss each way, packets between the ends."""
OWN = Tool("qsh own", "qshd", ("-o", "QshCongestion=own"))
CUBIC = Tool("qsh cubic", "qshd", ("-o", "QshCongestion=cubic"))


def simulated(controllers: tuple[str, ...] = ("cubic", "own")) -> list[dict[str, Any]]:
    return [
        {"what": what, **json.loads(line)}
        for what in ("grid", "aside", "goals", "share", "many")
        for controller in controllers
        for line in subprocess.run(
            ["cargo", "run", *EXAMPLE, str(MANIFEST), "--", what, controller],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout.splitlines()
    ]


def measure(seconds: float = SECONDS) -> list[dict[str, Any]]:
    return list(_copies(seconds))


def _copies(seconds: float) -> Iterator[dict[str, Any]]:
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
            for tool in (CUBIC, OWN):
                yield {
                    "tool": tool.name,
                    "mbit": rate,
                    "rtt_ms": rtt,
                    "loss": loss,
                    "queue_packets": packets,
                    "goodput_mbit": round(_copy_mbit(stage, tool, seconds), 2),
                }


def _copy_mbit(stage: Stage, tool: Tool, seconds: float) -> float:
    path = Path(tempfile.gettempdir(), f"qsh-bench-{os.getpid()}")
    path.unlink(missing_ok=True)
    with open("/dev/zero", "rb") as source:
        client = subprocess.Popen(
            stage.argv(tool, f"rm -f {path}; cat > {path}"), stdin=source, env=stage.env
        )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not (path.exists() and path.stat().st_size):
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: {tool.name} copies nothing")
            time.sleep(0.01)
        time.sleep(seconds)
        return path.stat().st_size * 8e-6 / seconds
    finally:
        client.kill()
        client.wait()
        path.unlink(missing_ok=True)
