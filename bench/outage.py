"""The link is down for ten seconds: how soon after it is up is a 200 × 60 screen as the program painted it?

output: the program paints pictures while nothing passes, the last of them a second before the link is up.
key: it waits, a key is typed in the middle of the outage, and its answer is a new picture.
``back_ms`` is from link up until every cell is right, ``beyond_ms`` what that is above the RTT.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import full_screen
from bench.stage import Stage, summary
from bench.tables import by_tool, figure
from bench.tracked_terminal import TrackedTerminal
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.stage import Tool

__all__ = ["CASES", "measure", "table"]

ROWS, COLUMNS = 60, 200
RTT_MS = 100
DOWN_S = 10.0
RATE_HZ = 10.0
SHOWN_S = 1.0
"""Of painting before the link goes down."""
QUIET_S = 1.0
"""Between the last picture and link up."""
STAGGER_S = 0.17
LIMIT_S = 40.0
CASES = ("output", "key")


def measure(
    tools: Sequence[Tool], repetitions: int, down_s: float = DOWN_S
) -> list[dict[str, Any]]:
    rows = []
    for case in CASES:
        for tool in tools:
            back_ms, notes = [], []
            for turn in range(repetitions):
                try:  # timers of the programs meet the end at another moment each time
                    back_ms.append(_once(tool, case, down_s + turn * STAGGER_S))
                except TimeoutError as error:
                    notes.append(str(error))
            rows.append(
                {
                    "tool": tool.name,
                    "case": case,
                    "down_s": down_s,
                    "rtt_ms": RTT_MS,
                    "back_ms": summary(back_ms, 0) if back_ms else {"n": 0},
                    "beyond_ms": summary([ms - RTT_MS for ms in back_ms], 0) if back_ms else {"n": 0},
                    "notes": notes,
                }
            )  # fmt: skip
    return rows


def _once(tool: Tool, case: str, down_s: float) -> float:
    network = Network.link(delay_ms=RTT_MS / 2)
    with Stage(network) as stage:
        terminal = TrackedTerminal(stage, tool, ROWS, COLUMNS)
        painting_s = SHOWN_S + down_s - QUIET_S

        def shows(number: int) -> bool:
            return terminal.screen.lines() == full_screen.picture(number, ROWS, COLUMNS)

        try:
            terminal.await_prompt()
            program = stage.python(Path(full_screen.__file__))
            terminal.type(f"exec {program} paint {ROWS} {COLUMNS} {RATE_HZ} {painting_s}\r".encode())  # fmt: skip
            _must(terminal, lambda: shows(0), "the painting program did not start")
            terminal.type(b"k")
            _must(terminal, lambda: shows(1), "no answer before the outage")
            last = 2
            if case == "output":
                terminal.type(full_screen.PAINTED_BY_ITSELF)
                last = 1 + full_screen.pictures(RATE_HZ, painting_s)
                terminal.pass_time(SHOWN_S)
            network.set(cut=True)
            terminal.pass_time(down_s / 2)
            if case == "key":
                terminal.type(b"k")
            terminal.pass_time(down_s / 2)
            if shows(last):
                raise TimeoutError("the outage let something pass")
            up = time.perf_counter()
            network.set(cut=False)
            back = _must(terminal, lambda: shows(last), f"not right {LIMIT_S:g} s after link up")
            return (back - up) * 1000
        finally:
            terminal.close()


def _must(terminal: TrackedTerminal, condition: Any, what: str) -> float:
    at = terminal.wait(condition, LIMIT_S)
    if at is None:
        raise TimeoutError(f"{what}: {terminal.screen.text(0)[:80]!r}")
    return at


def table(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        cases = {"output": "output meanwhile", "key": "a key meanwhile"}
        failed = f", {len(row['notes'])} failed" if row["notes"] else ""
        found = row["beyond_ms"]
        text = f"{figure(found, 'median')} ({figure(found, 'min')}–{figure(found, 'max')})"
        yield f"{cases[row['case']]}: RTT + ms", text + failed, "≤ 50"

    down_s = rows[0]["down_s"]
    return by_tool(f"200 × 60 right again after {down_s:g} s without a link", rows, line)
