"""Ctrl-C while the far side floods the terminal over a slow link: how soon is the prompt there, and does it work?

``prompt_ms`` is from the key to a prompt with the cursor behind it, ``usable_ms`` to the answer of a command typed at
that moment, ``late_mb`` what the client still wrote between the two.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.cat import write_log
from bench.stage import Stage, summary
from bench.tables import by_tool, figure
from bench.tracked_terminal import TrackedTerminal
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.stage import Tool

__all__ = ["FLOODS", "measure", "table"]

LINK = {"delay_ms": 50, "rate_mbit": 10, "queue_packets": 300}
FLOODS = ("yes", "cat")
FLOOD_S = 4.0
LIMIT_S = 30.0
FILE_MB = 10
COPIES = 200
ANSWER = "answer 42"
ASK = b"echo answer $((6*7))\r"


def measure(tools: Sequence[Tool], repetitions: int) -> list[dict[str, Any]]:
    rows = []
    for flood in FLOODS:
        for tool in tools:
            with Stage(Network.link(**LINK)) as stage:
                command = _command(stage, flood)
                found = _rounds(stage, tool, command, repetitions)
                rows.append({"tool": tool.name, "flood": flood, **LINK, **found})
    return rows


def _command(stage: Stage, flood: str) -> bytes:
    if flood == "yes":
        return b"yes\r"
    folder = stage.files.home / "logs"
    folder.mkdir()
    write_log(folder / "0", FILE_MB * 1_000_000)
    for number in range(1, COPIES):  # more than any program shows in that time
        (folder / str(number)).hardlink_to(folder / "0")
    return f"cat {folder}/*\r".encode()


def _rounds(stage: Stage, tool: Tool, command: bytes, repetitions: int) -> dict[str, Any]:
    prompt_ms: list[float] = []
    usable_ms: list[float] = []
    late_mb: list[float] = []
    flood_mbit: list[float] = []
    notes: list[str] = []
    for _ in range(repetitions):
        terminal = TrackedTerminal(stage, tool)
        try:
            terminal.await_prompt()
            terminal.pass_time(0.5)
            before = terminal.bytes_read
            terminal.type(command)
            terminal.pass_time(FLOOD_S)
            flood_mbit.append((terminal.bytes_read - before) * 8e-6 / FLOOD_S)
            if terminal.at_prompt():
                raise TimeoutError("the flood ended by itself")
            before = terminal.bytes_read
            pressed = time.perf_counter()
            terminal.type(b"\x03")
            shown = terminal.wait(terminal.at_prompt, LIMIT_S)
            late_mb.append((terminal.bytes_read - before) / 1e6)
            if shown is None:
                raise TimeoutError(f"no prompt after {LIMIT_S:g} s")
            prompt_ms.append((shown - pressed) * 1000)
            terminal.type(ASK)
            usable = terminal.wait(terminal.showing(ANSWER), LIMIT_S)
            if usable is None:
                raise TimeoutError(f"no answer, but {terminal.screen.lines()[-3:]}")
            usable_ms.append((usable - pressed) * 1000)
        except TimeoutError as error:
            notes.append(str(error))
        finally:
            terminal.leave()
    return {
        "prompt_ms": summary(prompt_ms, 0) if prompt_ms else {"n": 0},
        "usable_ms": summary(usable_ms, 0) if usable_ms else {"n": 0},
        "late_mb": summary(late_mb, 3) if late_mb else {"n": 0},
        "flood_mbit": summary(flood_mbit, 2) if flood_mbit else {"n": 0},
        "notes": notes,
    }


def table(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        name = f"Ctrl-C under `{row['flood']}`, 10 Mbit, queue 300"
        failed = f", {len(row['notes'])} failed" if row["notes"] else ""
        for key, what, goal in (("prompt_ms", "prompt", "≤ 120 ms"), ("usable_ms", "answer", "")):
            found = row[key]
            text = f"{figure(found, 'median')} ({figure(found, 'min')}–{figure(found, 'max')})"
            yield f"{name}: {what} after ms", text + failed, goal

    return by_tool("100 ms RTT, median (min–max)", rows, line)
