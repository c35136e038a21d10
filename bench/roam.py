"""Another address on the client's side: how soon after the link is up does a key have its answer?

outage: the same address, after a minute without a link.
same: an IPv4 address instead of another, in another network. other: IPv6 instead of IPv4, for those who know a name with both.
In those the link is down for a second, with a key in its middle and the new address at its end. From link up a key is typed
every 250 ms; ``back_ms`` is from link up until the first of those has its answer, a counter that the program on the far side
paints, so that no prediction counts. ``beyond_ms`` is what that is above the round trips that it takes at least: one, and two.
"""

from __future__ import annotations

import re
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

__all__ = ["measure", "table"]

RTT_MS = 100
GAP_S = 1.0
KEY_S = 0.25
BEFORE = 6
"""Keys typed and answered before the change."""
LIMIT_S = 40.0
HOPELESS = 2
NEW_IP4 = "10.77.9.9"
CASES = {"same": 1, "other": 2, "outage": 1}
"""And the round trips that each takes at least."""
MOVES = ("same", "other")
OUTAGE_S = 60.0
NAME = "roaming.test"


def measure(
    tools: Sequence[Tool],
    repetitions: int,
    cases: Sequence[str] = MOVES,
    outage_s: float = OUTAGE_S,
) -> list[dict[str, Any]]:
    """Tools take turns. One that has failed twice and never succeeded is left alone."""
    found: dict[tuple[str, str], tuple[list[float], list[str]]] = {}
    for _ in range(repetitions):
        for case in cases:
            for tool in tools:
                if case == "other" and tool.name != "qsh":
                    continue  # ssh and mosh keep the address that they began with
                times, notes = found.setdefault((case, tool.name), ([], []))
                if not times and len(notes) >= HOPELESS:
                    continue
                try:
                    times.append(_once(tool, case, outage_s if case == "outage" else GAP_S))
                except TimeoutError as error:
                    notes.append(str(error))
    return rows_of(found)


def rows_of(found: dict[tuple[str, str], tuple[list[float], list[str]]]) -> list[dict[str, Any]]:
    """Of the times and failures of each case and tool."""
    return [
        {
            "tool": tool,
            "case": case,
            "rtt_ms": RTT_MS,
            "back_ms": summary(times, 0) if times else {"n": 0},
            "beyond_ms": _summary_beyond(times, CASES[case]),
            "notes": notes,
        }
        for (case, tool), (times, notes) in found.items()
    ]


def _summary_beyond(times: Sequence[float], round_trips: int) -> dict[str, float]:
    return summary([ms - RTT_MS * round_trips for ms in times], 0) if times else {"n": 0}


def _once(tool: Tool, case: str, down_s: float) -> float:
    network = Network.link(delay_ms=RTT_MS / 2)
    with Stage(network) as stage:
        if case == "other":
            network.client.drop_address("ip6")
            stage.give_name(NAME)
        terminal = TrackedTerminal(stage, tool)

        def answered() -> int:
            rows = "\n".join(terminal.screen.lines())
            return max((int(number) for number in re.findall(r"<(\d+)>", rows)), default=-1)

        try:
            terminal.await_prompt()
            terminal.type(f"exec {stage.python(Path(full_screen.__file__))} answer\r".encode())
            _must(terminal, lambda: answered() == 0, "the program did not start")
            for number in range(1, BEFORE + 1):
                terminal.type(b"k")
                _must(terminal, lambda number=number: answered() >= number, "no answer before")  # type: ignore[misc]
            network.set(cut=True)
            terminal.pass_time(down_s / 2)
            terminal.type(b"k")
            terminal.pass_time(down_s / 2)
            if case != "other":
                if case == "same":
                    network.client.change_address(NEW_IP4)
                up = due = time.perf_counter()
                network.set(cut=False)
            else:  # a network without IPv4: it is there when it has given an address
                network.client.drop_address("ip4")
                network.set(cut=False)
                network.client.add_address("ip6")
                up = due = time.perf_counter()
            typed, wanted = BEFORE + 1, BEFORE + 2
            while time.perf_counter() < up + LIMIT_S and not terminal.ended:
                if time.perf_counter() >= due:
                    terminal.type(b"k")
                    typed, due = typed + 1, due + KEY_S
                terminal.pump(due - time.perf_counter())
                if answered() >= wanted:
                    return (terminal.read_at - up) * 1000
            raise TimeoutError("died" if terminal.ended else f"no answer in {LIMIT_S:g} s")
        finally:
            terminal.close()


def _must(terminal: TrackedTerminal, condition: Any, what: str) -> None:
    if terminal.wait(condition, LIMIT_S) is None:
        raise TimeoutError(f"{what}: {terminal.screen.text(0)[:80]!r}")


def table(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        cases = {
            "same": ("another IPv4 address", "≤ 115"),
            "other": ("IPv6 after IPv4", "≤ 250"),
            "outage": ("the same one after a minute", "≤ 125"),
        }
        name, goal = cases[row["case"]]
        failed = f", {len(row['notes'])} failed" if row["notes"] else ""
        found = row["back_ms"]
        text = f"{figure(found, 'median')} ({figure(found, 'min')}–{figure(found, 'max')})"
        yield f"{name}: first answer after ms", text + failed, goal

    return by_tool(f"from link up, {rows[0]['rtt_ms']} ms RTT, median (min–max)", rows, line)
