"""The tables of all benchmarks, in the order in which they are printed. Each is made where its figures are."""

from __future__ import annotations

from typing import Any

from bench import (
    abuse,
    blocked,
    bulk,
    cat,
    congestion,
    flood,
    forward,
    idle,
    idle_traffic,
    jump,
    keys,
    lossy_login,
    outage,
    restart,
    roam,
    scale_report,
    shared,
    startup,
    storm,
    tail,
    terminal_memory,
    udp,
    uplinks,
)

__all__ = ["TABLES", "markdown"]

TABLES = {
    "bulk": bulk.table,
    "startup": startup.table,
    "storm": storm.table,
    "restart": restart.table,
    "idle": idle.table,
    "tail": tail.table,
    "forward": forward.table,
    "shared": shared.table,
    "udp": udp.table,
    "jump": jump.table,
    "lossy-login": lossy_login.table,
    "idle-traffic": idle_traffic.table,
    "keys": keys.table,
    "flood": flood.table,
    "outage": outage.table,
    "blocked": blocked.table,
    "blocked-ssh": blocked.table,
    "roam": roam.table,
    "outage-echo": roam.table,
    "uplinks": uplinks.table,
    "cat": cat.table,
    "abuse": abuse.table,
    "congestion": congestion.table,
    "beside-copy": congestion.beside_copy_table,
    "terminal-memory": terminal_memory.table,
    "scale": scale_report.table,
}


def markdown(results: dict[str, list[dict[str, Any]]]) -> str:
    return "\n\n".join(TABLES[name](results[name]) for name in TABLES if results.get(name))
