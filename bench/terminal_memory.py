"""What one terminal session costs: PSS of the process that holds it, of its client, and the client's CPU time per key.

The host is the parent of the user's shell: qsh's session host, sshd's process of the user, mosh-server. ``history_mb`` is
what it grew by after 10,000 lines had been shown, ``session_mb`` what all of the server's processes grew by for one
session. PSS of pages shared with other processes is divided, so a server with more sessions has smaller ones.
The cost of a key is that of a client at 100 ms RTT while lines are typed fast, less what it costs idle. ``added_us`` is
the part that prediction adds: the same again with it switched off, where the program can.
"""

from __future__ import annotations

import dataclasses
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cat import log_line
from bench.idle import SHELLS, pss_mb
from bench.stage import Stage
from bench.tables import by_tool, figure
from bench.tracked_terminal import TrackedTerminal
from bench.typing_script import script
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.stage import Tool

__all__ = ["measure", "table"]

SETTLE_S = 5.0
HISTORY_LINES = 10_000
KEY_INTERVAL_S = 0.02
LINK = {"delay_ms": 50}
LINES_S = 60.0
UNPREDICTED = {"qsh": ("-o", "QshPrediction=never")}
"""How prediction is switched off."""


def measure(tools: Sequence[Tool], keys: int) -> list[dict[str, Any]]:
    rows = []
    for tool in tools:
        row: dict[str, Any] = {"tool": tool.name, "lines": HISTORY_LINES}
        with Stage() as stage:
            row |= _memory(stage, tool)
        with Stage(Network.link(**LINK)) as stage:
            row |= _cost(stage, tool, keys)
        rows.append(row)
    return rows


def _memory(stage: Stage, tool: Tool) -> dict[str, Any]:
    group = stage.server_cost[tool.server]
    text = stage.files.home / "lines.log"
    chance = random.Random(1)
    text.write_text("".join(log_line(number, chance) + "\n" for number in range(HISTORY_LINES)))
    text.chmod(0o644)
    alone, _ = pss_mb(group.pids())
    terminal = TrackedTerminal(stage, tool)
    try:
        terminal.await_prompt()
        terminal.pass_time(SETTLE_S)
        host = _host(group.pids())
        idle, _ = pss_mb([host])
        everything, _ = pss_mb(group.pids())
        client, _ = pss_mb(terminal.pids(), set())
        terminal.type(f"clear; cat {text}\r".encode())
        terminal.pass_time(0.2)
        terminal.await_prompt(LINES_S)
        terminal.pass_time(SETTLE_S)
        after, _ = pss_mb([host])
        client_after, _ = pss_mb(terminal.pids(), set())
        return {
            "host": Path(f"/proc/{host}/comm").read_text().strip(),
            "host_mb": round(idle, 2),
            "history_mb": round(after - idle, 2),
            "session_mb": round(everything - alone, 2),
            "client_mb": round(client, 2),
            "client_after_mb": round(client_after, 2),
        }
    finally:
        terminal.leave()


def _host(pids: Sequence[int]) -> int:
    """The parent of the one shell among ``pids``."""
    for pid in pids:
        if Path(f"/proc/{pid}/comm").read_text().strip() in SHELLS:
            return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    raise SystemExit("bench: the session has no shell")


def _cost(stage: Stage, tool: Tool, keys: int) -> dict[str, Any]:
    predicted = _key_us(stage, tool, keys)
    found: dict[str, Any] = {"key_us": round(predicted), "added_us": None}
    if options := UNPREDICTED.get(tool.name):
        plain = _key_us(stage, dataclasses.replace(tool, options=(*tool.options, *options)), keys)
        found |= {"key_unpredicted_us": round(plain), "added_us": round(predicted - plain)}
    return found


def _key_us(stage: Stage, tool: Tool, keys: int) -> float:
    terminal = TrackedTerminal(stage, tool)
    try:
        terminal.await_prompt()
        terminal.pass_time(1.0)
        idle_share = _cpu_share(stage, terminal)
        start_s, start_cpu_s, count = time.perf_counter(), stage.client_cost.cpu_s(), 0
        due = start_s
        for line in script(keys):
            for key in line:
                terminal.pass_time(due - time.perf_counter())
                terminal.type(key.data)
                due = max(due, time.perf_counter() - KEY_INTERVAL_S) + KEY_INTERVAL_S
                count += 1
            terminal.pass_time(0.3)
            terminal.type(b"\r")
            count += 1
            terminal.pass_time(0.01)
            terminal.await_prompt()
        spent_s = stage.client_cost.cpu_s() - start_cpu_s
        took_s = time.perf_counter() - start_s
        return max(0.0, spent_s - idle_share * took_s) / count * 1e6
    finally:
        terminal.leave()


def _cpu_share(stage: Stage, terminal: TrackedTerminal) -> float:
    """Seconds of CPU per second that the client costs without keys."""
    start_s, start_cpu_s = time.perf_counter(), stage.client_cost.cpu_s()
    terminal.pass_time(SETTLE_S)
    return (stage.client_cost.cpu_s() - start_cpu_s) / (time.perf_counter() - start_s)


MEMORY = (
    ("host_mb", "idle session, its host's PSS: MB", "≤ 3"),
    ("history_mb", "… more after 10,000 lines", "≤ 1"),
    ("session_mb", "… all of the server's processes", ""),
    ("client_mb", "client's PSS: MB", ""),
    ("client_after_mb", "… after 10,000 lines", ""),
    ("key_us", "client's CPU time per key: µs", ""),
    ("added_us", "… added by prediction", "≤ 300"),
)


def table(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        for key, name, goal in MEMORY:
            yield name, figure(row, key), goal

    return by_tool("one terminal session", rows, line)
