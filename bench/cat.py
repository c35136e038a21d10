"""A long text file shown by ``cat`` in a terminal that reads as fast as it can: seconds from Enter to the line after it."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from bench.stage import Stage, Terminal, summary
from bench.tables import BASE, by_tool, figure
from bench.typing_script import WORDS
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.stage import Tool

__all__ = ["log_line", "measure", "table", "write_log"]

SIZE_MB = 50
LIMIT_S = 120.0
MARK = b"@#@#@#@#"
"""Shown after the file. Nothing else has these characters, so that a client that paints only what differs paints it whole."""
SHOW_MARK = r"printf '\100\43\100\43\100\43\100\43\n'"
DISTINCT_LINES = 5000


def log_line(number: int, chance: random.Random) -> str:
    """Like those of a busy daemon: 60 to 120 characters."""
    words = " ".join(chance.choices(WORDS, k=chance.randint(5, 12)))
    return f"2026-01-01T12:{number // 60 % 60:02d}:{number % 60:02d} unit[{number % 97}]: {words}"


def write_log(path: Path, size: int) -> None:
    """At least ``size`` bytes of whole lines."""
    chance = random.Random(1)
    lines = "".join(log_line(number, chance) + "\n" for number in range(DISTINCT_LINES)).encode()
    with path.open("wb") as file:
        for _ in range(size // len(lines)):
            file.write(lines)
        rest = lines[: size % len(lines)]
        file.write(rest + lines[len(rest) : lines.find(b"\n", len(rest)) + 1])
    path.chmod(0o644)


def measure(tools: Sequence[Tool], size_mb: float, repetitions: int) -> list[dict[str, Any]]:
    """``size_mb`` in 10⁶ bytes. The tools take turns."""
    seconds: dict[Tool, list[float]] = {}
    shown_mb: dict[Tool, float] = {}
    with Stage(Network.veth()) as stage:
        path = stage.files.home / "long.log"
        write_log(path, round(size_mb * 1e6))
        for _ in range(repetitions):
            for tool in tools:
                took_s, shown_mb[tool] = _once(stage, tool, path)
                seconds.setdefault(tool, []).append(took_s)
        size = path.stat().st_size
    return [
        {
            "tool": tool.name,
            "file_mb": round(size / 1e6, 1),
            "seconds": summary(times, 2),
            "mb_per_s": summary([size / 1e6 / each for each in times]),
            "shown_mb": round(shown_mb[tool], 1),
        }
        for tool, times in seconds.items()
    ]


def _once(stage: Stage, tool: Tool, path: Path) -> tuple[float, float]:
    terminal = Terminal(stage, tool)
    try:
        terminal.prompt()
        time.sleep(0.3)
        start = time.perf_counter()
        terminal.type(f"cat {path}; {SHOW_MARK}\r".encode())
        end, read = terminal.drain(MARK, LIMIT_S)
        terminal.type(b"exit\r")
        return end - start, read / 1e6
    finally:
        terminal.close()


def table(rows: list[dict[str, Any]]) -> str:
    ssh = next((row for row in rows if row["tool"] == BASE), None)

    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        yield "seconds", figure(row["seconds"], "median"), ""
        yield "MB/s", figure(row["mb_per_s"], "median"), ""
        if ssh:
            times = row["mb_per_s"]["median"] / ssh["mb_per_s"]["median"]
            yield "× ssh", f"{times:.2f}", "≥ 0.8"
        yield "MB that the client wrote", figure(row, "shown_mb"), ""

    return by_tool(f"`cat` of {rows[0]['file_mb']:g} MB of text, veth", rows, line)
