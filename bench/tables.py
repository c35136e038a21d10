"""Results as Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Lines = Callable[[dict[str, Any]], Iterable[tuple[str, str, str]]]

__all__ = ["BASE", "by_tool", "figure", "markdown_table", "ssh_rows"]

BASE = "ssh"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def ssh_rows(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[key] for key in keys): row for row in rows if row["tool"] == BASE}


def by_tool(head: str, rows: list[dict[str, Any]], line: Lines) -> str:
    """A column per tool. ``line`` makes the named cells of one row, and what is aimed at."""
    tools = list(dict.fromkeys(row["tool"] for row in rows))
    found: dict[str, dict[str, str]] = {}
    goals: dict[str, str] = {}
    for row in rows:
        for name, text, goal in line(row):
            found.setdefault(name, {})[row["tool"]] = text
            goals[name] = goal
    return markdown_table(
        (head, *tools, "goal"),
        [
            (name, *(cells.get(tool, "–") for tool in tools), goals[name])
            for name, cells in found.items()
        ],
    )


def figure(values: dict[str, float] | None, name: str) -> str:
    value = (values or {}).get(name)
    return "–" if value is None else f"{value:g}"
