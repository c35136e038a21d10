"""Memory of idle sessions: PSS of all the server's processes but the users' shells, with 1 and with 50 open.

PSS divides a page among those that share it, so that the sum is what the machine spends. ``per_session`` is the
total with 50 open divided by 50, ``increase`` what one more costs. A client's figures are those of its process tree.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from pathlib import Path
from typing import Any

from bench.stage import MOSH, OPENSSH, QSH, SIZE_KB, Stage, Terminal, Tool, installed
from bench.tables import markdown_table

SHELLS = {"bash", "sh"}
SETTLE_S = 5.0
STARTUPS = "MaxStartups 100:30:200\nPerSourceMaxStartups none\n"


def measure(sessions: int) -> list[dict[str, Any]]:
    rows = []
    for tool in (OPENSSH, QSH, MOSH):
        if installed(tool):
            with Stage(server=STARTUPS) as stage:
                rows.append({"tool": tool.name} | _one(stage, tool, sessions))
    return rows


def _one(stage: Stage, tool: Tool, sessions: int) -> dict[str, Any]:
    terminals: list[Terminal] = []
    group = stage.server_cost[tool.server]
    alone, _ = pss_mb(group.pids())
    found: dict[int, dict[str, Any]] = {}
    try:
        for count in (1, sessions):
            while len(terminals) < count:
                terminals.append(Terminal(stage, tool))
                terminals[-1].prompt()
            time.sleep(SETTLE_S)
            total, names = pss_mb(group.pids())
            found[count] = {"server_pss_mb": round(total, 1), "processes": names}
        clients = [pss_mb(terminal.pids(), set())[0] for terminal in terminals]
        alone_client = _rss_mb(terminals[0].pids())
    finally:
        for terminal in terminals:
            terminal.close()
    total, first = found[sessions]["server_pss_mb"], found[1]["server_pss_mb"]
    return {
        "sessions": sessions,
        "server_alone_mb": round(alone, 1),
        "server_with_1_mb": first,
        "server_with_all_mb": total,
        "per_session_mb": round(total / sessions, 2),
        "increase_mb": round((total - first) / max(1, sessions - 1), 2),
        "client_pss_mb": round(statistics.median(clients), 1),
        "client_rss_mb": round(alone_client, 1),
        "processes": found[sessions]["processes"],
    }


def pss_mb(pids: list[int], skip: set[str] = SHELLS) -> tuple[float, dict[str, int]]:
    total, names = 0, dict[str, int]()
    for pid in pids:
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name not in skip:
                total += _field(pid, "Pss")
                names[name] = names.get(name, 0) + 1
    return total / SIZE_KB, names


def _rss_mb(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += _field(pid, "Rss")
    return total / SIZE_KB


def _field(pid: int, name: str) -> int:
    """kB"""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    most = rows[0]["sessions"]
    return markdown_table(
        ("idle sessions, PSS in MB", "server alone", "1 open", f"{most} open", "per session", "one more", "client", "client RSS"),
        [
            (
                row["tool"],
                row["server_alone_mb"],
                row["server_with_1_mb"],
                row["server_with_all_mb"],
                row["per_session_mb"],
                row["increase_mb"],
                row["client_pss_mb"],
                row["client_rss_mb"],
            )
            for row in rows
        ],
    )  # fmt: skip
