"""The main figures of all benchmarks as one picture, which the README shows."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["draw"]

Results = dict[str, list[dict[str, Any]]]


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
