"""Results as Markdown, which the README quotes, and as one picture."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["draw", "markdown"]

Results = dict[str, list[dict[str, Any]]]
BASE = "ssh"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _base(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[key] for key in keys): row for row in rows if row["tool"] == BASE}


def _bulk(rows: list[dict[str, Any]]) -> str:
    base = _base(rows, "place", "way")
    return _table(
        ("1 GiB through `cat`", "MB/s", "min–max", "× ssh", "CPU s/GB client", "CPU s/GB server", "both"),
        [
            (
                f"{row['tool']}, {row['place']}, {row['way']}",
                f"{row['mb_per_s']['median']:.0f}",
                f"{row['mb_per_s']['min']:.0f}–{row['mb_per_s']['max']:.0f}",
                f"{row['mb_per_s']['median'] / base[row['place'], row['way']]['mb_per_s']['median']:.2f}",
                row["client_cpu_s_per_gb"]["median"],
                row["server_cpu_s_per_gb"]["median"],
                round(row["client_cpu_s_per_gb"]["median"] + row["server_cpu_s_per_gb"]["median"], 2),
            )
            for row in sorted(rows, key=lambda row: (row["place"], row["way"]))
        ],
    )  # fmt: skip


def _startup(rows: list[dict[str, Any]]) -> str:
    rtts = list(rows[0]["ms"])
    base = _base(rows, "kind")
    names = {"exec": "`X host true`", "prompt": "prompt of a shell"}
    return _table(
        ("median ms at RTT", *(f"{rtt} ms" for rtt in rtts), "round trips", "× ssh at 0 ms"),
        [
            (
                f"{names[row['kind']]}: {row['tool']}",
                *(f"{row['ms'][rtt]['median']:.0f}" for rtt in rtts),
                f"{row['trips']:.1f}",
                f"{row['ms'][rtts[0]]['median'] / base[row['kind'],]['ms'][rtts[0]]['median']:.2f}",
            )
            for row in sorted(rows, key=lambda row: row["kind"])
        ],
    )


def _storm(rows: list[dict[str, Any]]) -> str:
    return _table(
        ("echo of a live session, ms", "quiet median", "quiet p99", "storm median", "storm p99", "max",
         "knocks done/s", "knocker's CPU s"),
        [
            (
                f"{row['tool']}, MaxStartups {row['limits']}",
                row["quiet_ms"]["median"],
                row["quiet_ms"]["p99"],
                row["storm_ms"]["median"],
                row["storm_ms"]["p99"],
                row["storm_ms"]["max"],
                f"{row['load']['done'] / row['load']['seconds']:.0f} of {row['load']['offered'] / row['load']['seconds']:.0f}",
                row["load"]["cpu_s"],
            )
            for row in rows
        ],
    )  # fmt: skip


def _idle(rows: list[dict[str, Any]]) -> str:
    most = rows[0]["sessions"]
    return _table(
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


def _tail(rows: list[dict[str, Any]]) -> str:
    return _table(
        ("downloads of 20 MB", "times", "whole with exit 0", "faults"),
        [
            (
                f"{row['tool']}, {row['place']}",
                row["times"],
                row["whole"],
                ", ".join(f"{n} {fault}" for fault, n in row["faults"].items()) or "none",
            )
            for row in rows
        ],
    )


TABLES = {"bulk": _bulk, "startup": _startup, "storm": _storm, "idle": _idle, "tail": _tail}


def markdown(results: Results) -> str:
    return "\n\n".join(TABLES[name](results[name]) for name in TABLES if results.get(name))


def draw(results: Results, path: Path) -> None:
    """One row of panels, a bar per tool; what is missing is left out."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    panels = [(title, bars) for title, bars in _panels(results) if bars]
    if not panels:
        return
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.4), squeeze=False)
    for axis, (title, bars) in zip(axes[0], panels, strict=True):
        names, values = list(bars), list(bars.values())
        colours = ["#d1495b" if name.startswith("qsh") else "#8d99ae" for name in names]
        drawn = axis.barh(names, values, color=colours)
        axis.bar_label(drawn, fmt="%.4g", padding=2)
        axis.invert_yaxis()
        axis.margins(x=0.18)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panels(results: Results) -> list[tuple[str, dict[str, float]]]:
    bulk = results.get("bulk", [])
    return [
        *(
            (
                f"1 GiB over veth, {way}: MB/s",
                {
                    row["tool"]: row["mb_per_s"]["median"]
                    for row in bulk
                    if (row["place"], row["way"]) == ("veth", way)
                },
            )
            for way in ("up", "down")
        ),
        (
            "both ends, veth: CPU s per GB",
            {
                tool: statistics.mean(
                    row["client_cpu_s_per_gb"]["median"] + row["server_cpu_s_per_gb"]["median"]
                    for row in bulk
                    if (row["tool"], row["place"]) == (tool, "veth")
                )
                for tool in dict.fromkeys(row["tool"] for row in bulk)
            },
        ),
        (
            "prompt at 100 ms RTT: ms",
            {
                row["tool"]: row["ms"]["100"]["median"]
                for row in results.get("startup", [])
                if row["kind"] == "prompt"
            },
        ),
        (
            "idle session on the server: MB",
            {row["tool"]: row["per_session_mb"] for row in results.get("idle", [])},
        ),
    ]
