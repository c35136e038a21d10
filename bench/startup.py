"""Time to `host true` and to a shell's prompt, at several round-trip times of an emulated link.

The round-trip times take turns as well as the tools, so that a busy minute of the machine meets all of them.
``trips`` is (median at the longest RTT - median at 0) / that RTT: what the user waits for on any link.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from typing import Any

from bench.stage import MOSH, OPENSSH, QSH, TSSH, Stage, Terminal, Tool, installed, summary
from bench.tables import markdown_table, ssh_rows
from tests.support.netns import Network

RTTS_MS = (0, 50, 100)
TOOLS = (OPENSSH, QSH, MOSH, TSSH)


def measure(repetitions: int) -> list[dict[str, Any]]:
    rows = []
    tools = [tool for tool in TOOLS if installed(tool)]
    with Stage(Network.link()) as stage:
        assert stage.network is not None
        times: dict[tuple[Tool, str, int], list[float]] = {}
        for turn in range(repetitions + 1):
            for rtt_ms in RTTS_MS:
                stage.network.set(delay_ms=rtt_ms / 2)
                for tool in tools:
                    kinds = (("exec", _exec_ms), ("prompt", _prompt_ms))[0 if tool.exec else 1 :]
                    for kind, once in kinds:
                        took_ms = once(stage, tool)
                        if turn:  # the first one warms caches
                            times.setdefault((tool, kind, rtt_ms), []).append(took_ms)
        for tool in tools:
            for kind in ("exec", "prompt"):
                found = {
                    rtt: times[tool, kind, rtt] for rtt in RTTS_MS if (tool, kind, rtt) in times
                }
                if found:
                    rows.append(_row(tool, kind, found))
    return rows


def _row(tool: Tool, kind: str, times: dict[int, list[float]]) -> dict[str, Any]:
    longest = max(times)
    trips = (statistics.median(times[longest]) - statistics.median(times[0])) / longest
    return {
        "tool": tool.name,
        "kind": kind,
        "ms": {str(rtt): summary(values) for rtt, values in times.items()},
        "trips": round(trips, 2),
    }


def _exec_ms(stage: Stage, tool: Tool) -> float:
    start = time.perf_counter()
    done = stage.run(tool, "true", stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"bench: {tool.name} true: status {done.returncode}")
    return (time.perf_counter() - start) * 1000


def _prompt_ms(stage: Stage, tool: Tool) -> float:
    terminal = Terminal(stage, tool)
    try:
        return terminal.prompt() * 1000
    finally:
        terminal.close()


def table(rows: list[dict[str, Any]]) -> str:
    rtts = list(rows[0]["ms"])
    base = ssh_rows(rows, "kind")
    names = {"exec": "`X host true`", "prompt": "prompt of a shell"}
    return markdown_table(
        ("median ms at RTT", *(f"{rtt} ms" for rtt in rtts), "round trips", "× ssh at 0 ms"),
        [
            (
                f"{names[row['kind']]}: {row['tool']}",
                *(f"{row['ms'][rtt]['median']:.0f}" for rtt in rtts),
                f"{row['trips']:.1f}",
                f"{row['ms'][rtts[0]]['median'] / base[row['kind'],]['ms'][rtts[0]]['median']:.2f}",
            )
            for row in sorted(rows, key=lambda row: row["kind"])
        ],
    )
