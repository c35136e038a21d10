"""Time to `host true` on a link that loses 29 % of the packets each way, at a round trip of 100 ms.

Of mosh, which runs no commands, to the prompt. A login that takes longer than the limit counts as ``failed`` and, for the
median, as the limit. The chances of each turn are the same for every tool. The host is known by a login without loss.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from typing import Any

from bench.stage import MOSH, OPENSSH, QSH, Stage, Terminal, Tool, installed
from bench.tables import markdown_table
from tests.support.netns import Network

__all__ = ["measure", "table"]

RTT_MS = 100
LOSS = 0.29
LIMIT_S = 20.0
TOOLS = (OPENSSH, MOSH, QSH)


def measure(repetitions: int, tools: tuple[Tool, ...] = TOOLS) -> list[dict[str, Any]]:
    rows = []
    with Stage(Network.link(delay_ms=RTT_MS / 2)) as stage:
        assert stage.network is not None
        for tool in filter(installed, tools):
            stage.network.set(loss=0.0)
            _login_s(stage, tool)  # the host is known, caches are warm
            times = []
            for turn in range(repetitions):
                stage.network.set(loss=LOSS, seed=1000 + 2 * turn)
                times.append(_login_s(stage, tool))
            rows.append(_row(tool, times))
    return rows


def _row(tool: Tool, times: list[float | None]) -> dict[str, Any]:
    counted = sorted(LIMIT_S if took is None else took for took in times)
    return {
        "tool": tool.name,
        "n": len(times),
        "failed": times.count(None),
        "median_s": round(statistics.median(counted), 2),
        "p90_s": round(counted[min(len(counted) - 1, len(counted) * 9 // 10)], 2),
        "min_s": round(counted[0], 2),
        "max_s": round(counted[-1], 2),
    }


def _login_s(stage: Stage, tool: Tool) -> float | None:
    start = time.perf_counter()
    if not tool.exec:
        terminal = Terminal(stage, tool)
        try:
            terminal.expect(b"ready>", LIMIT_S)
            return time.perf_counter() - start
        except TimeoutError:
            return None
        finally:
            terminal.close()
    try:
        done = subprocess.run(
            stage.argv(tool, "true"),
            env=stage.env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode else time.perf_counter() - start


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        (row["tool"], f"{row['failed']} of {row['n']}", row["median_s"], row["p90_s"])
        for row in rows
    ]
    return markdown_table(("29 % lost both ways, s", "no login", "login: median", "90 %"), lines)
