"""Two uplinks, and the one in use goes bad while its link is up: how long does a key wait for its answer?

loss: 30 % of the packets get lost from then on, each way. silence: nothing passes any more. Somebody types a key every 250 ms;
its answer is a counter that the program on the far side paints, so that no prediction counts. ``before``, ``during`` (the first
five seconds) and ``after`` (the next five) are of the keys that were typed then. ``uplinks`` 1: there is no other.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import full_screen
from bench.stage import Stage, quantile
from bench.tables import by_tool
from bench.tracked_terminal import TrackedTerminal
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.stage import Tool

__all__ = ["measure", "table"]

RTT_MS: Final = 100
KEY_S: Final = 0.25
PHASES: Final = (("before", 5.0), ("during", 5.0), ("after", 5.0))
CASES: Final[dict[str, dict[str, float]]] = {"loss": {"loss": 0.3}, "silence": {"cut": True}}
LIMIT_S: Final = 40.0


def measure(tools: Sequence[Tool], repetitions: int) -> list[dict[str, Any]]:
    rows = []
    for case in CASES:
        for tool in tools:
            for uplinks in (2, 1):
                if case == "silence" and uplinks == 1:
                    continue  # there is nothing to wait for
                found: dict[str, list[float]] = {name: [] for name, _ in PHASES}
                for seed in range(repetitions):
                    for name, times in _once(tool, case, uplinks, seed).items():
                        found[name] += times
                rows.append(
                    {
                        "tool": tool.name,
                        "case": case,
                        "uplinks": uplinks,
                        "rtt_ms": RTT_MS,
                        "runs": repetitions,
                        **{name: _summary(times) for name, times in found.items()},
                    }
                )
    return rows


def _summary(times: Sequence[float]) -> dict[str, float]:
    return {
        "n": len(times),
        "median": round(quantile(times, 0.5)),
        "p95": round(quantile(times, 0.95)),
        "max": round(max(times)),
    }


def _once(tool: Tool, case: str, uplinks: int, seed: int) -> dict[str, list[float]]:
    """Milliseconds of each key, by when it was typed."""
    network = Network.link(delay_ms=RTT_MS / 2, seed=seed)
    if uplinks > 1:
        network.second_link(delay_ms=RTT_MS / 2)
    with Stage(network) as stage:
        terminal = TrackedTerminal(stage, tool)
        try:
            terminal.await_prompt()
            terminal.type(f"exec {stage.python(Path(full_screen.__file__))} answer\r".encode())
            if terminal.wait(lambda: _answered(terminal) == 0, LIMIT_S) is None:
                raise TimeoutError("the program did not start")
            typed: list[tuple[str, float]] = []
            back: list[float] = []
            for name, seconds in PHASES:
                if name == "during":
                    network.set(**CASES[case])
                end = due = time.perf_counter()
                end += seconds
                while time.perf_counter() < end:
                    if time.perf_counter() >= due:
                        terminal.type(b"k")
                        typed.append((name, time.perf_counter()))
                        due += KEY_S
                    terminal.pump(min(due, end) - time.perf_counter())
                    _note(terminal, back)
            limit = time.perf_counter() + LIMIT_S
            while len(back) < len(typed) and time.perf_counter() < limit:
                terminal.pump(KEY_S)
                _note(terminal, back)
            if len(back) < len(typed):
                raise TimeoutError(f"{len(typed) - len(back)} keys were not answered")
            found: dict[str, list[float]] = {name: [] for name, _ in PHASES}
            for (name, at), answered_at in zip(typed, back, strict=True):
                found[name].append((answered_at - at) * 1000)
            return found
        finally:
            terminal.close()


def _answered(terminal: TrackedTerminal) -> int:
    rows = "\n".join(terminal.screen.lines())
    return max((int(number) for number in re.findall(r"<(\d+)>", rows)), default=-1)


def _note(terminal: TrackedTerminal, back: list[float]) -> None:
    """The answers that there are now."""
    back += [terminal.read_at] * max(0, _answered(terminal) - len(back))


def table(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        what = {"loss": "30 % loss", "silence": "silence"}[row["case"]]
        alone = "" if row["uplinks"] > 1 else ", no other uplink"
        text = ", ".join(
            f"{row[phase]['median']}/{row[phase]['p95']}" for phase in ("before", "during", "after")
        )
        yield f"{what}{alone}: before, during, after", text, ""

    rtt_ms = rows[0]["rtt_ms"]
    return by_tool(f"one of two uplinks goes bad, {rtt_ms} ms RTT, median/p95 in ms", rows, line)
