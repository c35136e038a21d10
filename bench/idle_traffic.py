"""What a terminal sends that is merely open: packets of both directions of an emulated link while nobody types.

``packets`` are counted from a moment after the prompt; ``per_hour`` is that rate. qsh learns how long a silence may be
(tests/unit/client/test_keep_alive.py has its hours): what is measured is how it begins in an unknown network.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.stage import MOSH, OPENSSH, QSH, Stage, Terminal, Tool, installed
from bench.tables import markdown_table
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["measure", "table"]

SETTLE_S = 65.0
"""A terminal counts as in use for a minute after its prompt, and asks whether the host is there."""
SECONDS = 60.0
TOOLS = (OPENSSH, MOSH, QSH)


def measure(seconds: float = SECONDS, tools: Sequence[Tool] = TOOLS) -> list[dict[str, Any]]:
    """One link for each, all at the same time: nothing of it costs more than waiting."""
    running = []
    try:
        for tool in filter(installed, tools):
            stage = Stage(Network.link(delay_ms=20))
            terminal = Terminal(stage, tool)
            running.append((tool, stage, terminal))
            terminal.prompt()
        time.sleep(SETTLE_S)
        before = [_packets(stage) for _, stage, _ in running]
        time.sleep(seconds)
        after = [_packets(stage) for _, stage, _ in running]
    finally:
        for _, stage, terminal in running:
            terminal.close()
            stage.close()
    return [
        {
            "tool": tool.name,
            "seconds": seconds,
            "packets": end - start,
            "per_hour": round((end - start) * 3600 / seconds),
        }
        for (tool, _, _), start, end in zip(running, before, after, strict=True)
    ]


def _packets(stage: Stage) -> int:
    assert stage.network is not None
    return sum(direction["passed"] for direction in stage.network.counters().values())


def table(rows: list[dict[str, Any]]) -> str:
    return markdown_table(
        ("a terminal that is merely open", "packets an hour"),
        [(row["tool"], row["per_hour"]) for row in rows],
    )
