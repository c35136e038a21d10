"""Results as Markdown, which the README quotes, and as one picture."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from bench import scale_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    Lines = Callable[[dict[str, Any]], Iterable[tuple[str, str, str]]]

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


def _blocked(rows: list[dict[str, Any]]) -> str:
    return _table(
        (f"UDP blocked, {rows[0]['rtt_ms']} ms RTT", "first byte ms, median (min–max)", "goal"),
        [
            (
                row["tool"],
                f"{row['first_byte_ms']['median']:.0f}"
                f" ({row['first_byte_ms']['min']:.0f}–{row['first_byte_ms']['max']:.0f})",
                "–" if row["goal_ms"] is None else f"≤ {row['goal_ms']}",
            )
            for row in rows
        ],
    )


def _by_tool(head: str, rows: list[dict[str, Any]], line: Lines) -> str:
    """A column per tool. ``line`` makes the named cells of one row, and what is aimed at."""
    tools = list(dict.fromkeys(row["tool"] for row in rows))
    found: dict[str, dict[str, str]] = {}
    goals: dict[str, str] = {}
    for row in rows:
        for name, text, goal in line(row):
            found.setdefault(name, {})[row["tool"]] = text
            goals[name] = goal
    return _table(
        (head, *tools, "goal"),
        [
            (name, *(cells.get(tool, "–") for tool in tools), goals[name])
            for name, cells in found.items()
        ],
    )


def _number(values: dict[str, float] | None, name: str) -> str:
    value = (values or {}).get(name)
    return "–" if value is None else f"{value:g}"


KEY_GOALS = {0.0: ("≥ 97.5 %", "102 / – / 105"), 0.01: ("≥ 97.5 %", "– / – / 125"),
             0.05: ("≥ 97.5 %", "– / 115 / 160"), 0.29: ("≥ 96 %", "110 / 220 / –")}  # fmt: skip


def _link(row: dict[str, Any]) -> str:
    if row["beside"]:
        ahead = ", begun ahead of the prompt" if row["ahead"] else ""
        return f"beside a TCP flow {' and '.join(row['beside'])}{ahead}, {row['rate_mbit']:g} Mbit, queue {row['queue_packets']}"
    first = ", first key at the prompt" if row["at_once"] else ""
    return f"{row['rtt_ms']:g} ms RTT{first}, {row['loss']:.0%} loss"


def _keys(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        where, (soon, ms) = _link(row), KEY_GOALS[row["loss"]]
        note = f" ({row['note']})" if row["note"] else ""
        if row["mode"] == "raw":
            numbers = " / ".join(_number(row["ms"], name) for name in ("median", "p95", "p99"))
            lost = f", {row['missing']} missing" if row["missing"] else ""
            yield f"not predictable, {where}: ms median / p95 / p99", numbers + lost + note, ms
            return
        soon = "≥ 90 %" if row["beside"] else soon
        wrong = row["wrong"] / max(1, row["typed"])
        share = "–" if row["soon"] is None else f"{row['soon']:.1%}"
        yield f"predictable, {where}: shown ≤ 20 ms", share + note, soon
        yield "… wrong, missing", f"{wrong:.2%}, {row['missing']}", "≤ 0.3 %, 0"
        if row["at_once"]:
            first = "–" if row["first_soon"] is None else f"{row['first_soon']:.1%}"
            yield "… of a line's first keys", first, soon

    def named(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        for name, text, goal in line(row):  # a name is of one row only
            yield (name if not name.startswith("…") else f"{name} ({_link(row)})"), text, goal

    return _by_tool("each key, from write to visible", rows, named)


def _flood(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        name = f"Ctrl-C under `{row['flood']}`, 10 Mbit, queue 300"
        failed = f", {len(row['notes'])} failed" if row["notes"] else ""
        for key, what, goal in (("prompt_ms", "prompt", "≤ 120 ms"), ("usable_ms", "answer", "")):
            found = row[key]
            text = f"{_number(found, 'median')} ({_number(found, 'min')}–{_number(found, 'max')})"
            yield f"{name}: {what} after ms", text + failed, goal

    return _by_tool("100 ms RTT, median (min–max)", rows, line)


def _outage(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        cases = {"output": "output meanwhile", "key": "a key meanwhile"}
        failed = f", {len(row['notes'])} failed" if row["notes"] else ""
        found = row["beyond_ms"]
        text = f"{_number(found, 'median')} ({_number(found, 'min')}–{_number(found, 'max')})"
        yield f"{cases[row['case']]}: RTT + ms", text + failed, "≤ 50"

    down_s = rows[0]["down_s"]
    return _by_tool(f"200 × 60 right again after {down_s:g} s without a link", rows, line)


def _roam(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        cases = {
            "same": ("another IPv4 address", "≤ 115"),
            "other": ("IPv6 after IPv4", "≤ 250"),
            "outage": ("the same one after a minute", "≤ 125"),
        }
        name, goal = cases[row["case"]]
        failed = f", {len(row['notes'])} failed" if row["notes"] else ""
        found = row["back_ms"]
        text = f"{_number(found, 'median')} ({_number(found, 'min')}–{_number(found, 'max')})"
        yield f"{name}: first answer after ms", text + failed, goal

    return _by_tool(f"from link up, {rows[0]['rtt_ms']} ms RTT, median (min–max)", rows, line)


def _uplinks(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        what = {"loss": "30 % loss", "silence": "silence"}[row["case"]]
        alone = "" if row["uplinks"] > 1 else ", no other uplink"
        text = ", ".join(
            f"{row[phase]['median']}/{row[phase]['p95']}" for phase in ("before", "during", "after")
        )
        yield f"{what}{alone}: before, during, after", text, ""

    rtt_ms = rows[0]["rtt_ms"]
    return _by_tool(f"one of two uplinks goes bad, {rtt_ms} ms RTT, median/p95 in ms", rows, line)


def _cat(rows: list[dict[str, Any]]) -> str:
    ssh = next((row for row in rows if row["tool"] == BASE), None)

    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        yield "seconds", _number(row["seconds"], "median"), ""
        yield "MB/s", _number(row["mb_per_s"], "median"), ""
        if ssh:
            times = row["mb_per_s"]["median"] / ssh["mb_per_s"]["median"]
            yield "× ssh", f"{times:.2f}", "≥ 0.8"
        yield "MB that the client wrote", _number(row, "shown_mb"), ""

    return _by_tool(f"`cat` of {rows[0]['file_mb']:g} MB of text, veth", rows, line)


MEMORY = (
    ("host_mb", "idle session, its host's PSS: MB", "≤ 3"),
    ("history_mb", "… more after 10,000 lines", "≤ 1"),
    ("session_mb", "… all of the server's processes", ""),
    ("client_mb", "client's PSS: MB", ""),
    ("client_after_mb", "… after 10,000 lines", ""),
    ("key_us", "client's CPU time per key: µs", ""),
    ("added_us", "… added by prediction", "≤ 300"),
)


def _forward(rows: list[dict[str, Any]]) -> str:
    base = {row["way"]: row for row in rows if row["case"] == "bulk" and row["tool"] == BASE}
    bulk = [
        (
            f"-L, {row['way']}: {row['tool']}",
            f"{row['mb_per_s']['median']:.0f}",
            f"{row['mb_per_s']['min']:.0f}–{row['mb_per_s']['max']:.0f}",
            f"{row['mb_per_s']['median'] / base[row['way']]['mb_per_s']['median']:.2f}",
        )
        for row in rows
        if row["case"] == "bulk"
    ]
    parallel = [
        (
            f"{row['tool']}, RTT {row['rtt_ms']} ms",
            row["single_setup_ms"]["median"],
            f"{row['connections']}, {row['failed']} failed",
            row["setup_ms"]["median"],
            row["setup_ms"]["max"],
        )
        for row in rows
        if row["case"] == "parallel"
    ]
    mixed = [
        (
            f"{row['tool']}, RTT {row['rtt_ms']} ms, {row['rate_mbit']} Mbit/s",
            *(
                row[f"{when}_ms"][which]
                for when in ("quiet", "busy")
                for which in ("median", "p99")
            ),
        )
        for row in rows
        if row["case"] == "mixed"
    ]
    return "\n\n".join(
        (
            _table(("one forwarded connection, veth", "MB/s", "min–max", "× ssh"), bulk),
            _table(("set-up through -D, ms", "one: median", "at once", "median", "max"), parallel),
            _table(
                (
                    "a byte to and fro through -L, ms",
                    "median",
                    "p99",
                    "beside a copy: median",
                    "p99",
                ),
                mixed,
            ),
        )
    )


def _udp(rows: list[dict[str, Any]]) -> str:
    by_case: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_case.setdefault(row["case"], []).append(row)
    rates = [
        (f"{row['wanted']:,}/s", f"{row['per_s']['median']:,.0f}", f"{row['came']['median']:.3f}")
        for row in by_case["rate"]
    ]
    latency = [
        (name, row[key]["median"], row[key]["p99"])
        for row in by_case["latency"]
        for name, key in (("without a forward", "direct_ms"), ("through -L udp/", "through_ms"))
    ]
    loss = [
        (
            f"-L, {row['kind']}: {row['loss']:.0%} lost each way, RTT {row['rtt_ms']} ms",
            f"{row['answered']:.0%}",
            row["ms"]["median"],
            row["ms"]["p99"],
        )
        for row in by_case["loss"]
    ]
    beside = [
        (f"{name}, {row['rate_mbit']} Mbit/s", row[key]["median"], row[key]["p99"])
        for row in by_case["beside"]
        for name, key in (("alone", "quiet_ms"), ("beside a flood", "beside_ms"))
    ]
    return "\n\n".join(
        (
            _table(("200 bytes, one way, loopback: sent", "came, /s", "part"), rates),
            _table(("to and fro on loopback, ms", "median", "p99"), latency),
            _table(("a message every 10 ms, ms", "answered", "median", "p99"), loss),
            _table(("a byte to and fro through -L of TCP, ms", "median", "p99"), beside),
        )
    )


def _jump(rows: list[dict[str, Any]]) -> str:
    lines = [
        (
            f"{row['tool']} -J, RTT {row['rtt_ms']} ms, {row['loss']:.0%} lost",
            row["true_ms"]["median"] if row["true_ms"] else "",
            row["key_ms"]["median"],
            row["key_ms"]["p99"],
        )
        for row in rows
    ]
    return _table(("through a jump host, ms", "`host true`", "a key: median", "p99"), lines)


def _lossy_login(rows: list[dict[str, Any]]) -> str:
    lines = [
        (row["tool"], f"{row['failed']} of {row['n']}", row["median_s"], row["p90_s"])
        for row in rows
    ]
    return _table(("29 % lost both ways, s", "no login", "login: median", "90 %"), lines)


def _idle_traffic(rows: list[dict[str, Any]]) -> str:
    return _table(
        ("a terminal that is merely open", "packets an hour"),
        [(row["tool"], row["per_hour"]) for row in rows],
    )


def _abuse(rows: list[dict[str, Any]]) -> str:
    return _table(
        ("begun handshakes", "a second", "others' login, ms", "p99", "most", "before", "front's MB", "most", "after"),
        [
            (
                f"{row['manner']}, {row['number']}",
                round(row["number"] / row["lasted_s"]),
                row["login_ms"]["median"],
                row["login_ms"]["p99"],
                row["login_ms"]["max"],
                row["quiet_ms"]["median"],
                *row["front_mb"].values(),
            )
            for row in rows
        ],
    )  # fmt: skip


def _congestion(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        link = f"{row['mbit']} Mbit, {row['rtt_ms']} ms, {row['loss']:.1%} loss, queue {row['queue_packets']}"
        yield link, _number(row, "goodput_mbit"), ""

    return _by_tool("one copy up: Mbit", rows, line)


def _beside_copy(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        numbers = " / ".join(_number(row["ms"], name) for name in ("median", "p95"))
        yield "a key, ms: median / p95", numbers, "≤ 110 / 130"
        yield "keys missing", str(row["missing"]), "0"
        yield "the copy: Mbit", _number(row, "copy_mbit"), "≥ 9"

    return _by_tool("10 Mbit, 100 ms, queue 500, beside one's own copy up", rows, line)


def _terminal_memory(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        for key, name, goal in MEMORY:
            yield name, _number(row, key), goal

    return _by_tool("one terminal session", rows, line)


def _scale(rows: list[dict[str, Any]]) -> str:
    return _table(("many at a time, on loopback", "measured", "goal"), scale_report.lines(rows))


def _shared(rows: list[dict[str, Any]]) -> str:
    rtts = list(rows[0]["ms"])
    base = _base(rows, "case")
    return _table(
        ("over a shared connection, median ms at RTT", *(f"{rtt} ms" for rtt in rtts), *(f"× ssh at {rtt} ms" for rtt in rtts)),
        [
            (
                f"{row['case']}: {row['tool']}",
                *(f"{row['ms'][rtt]['median']:.0f}" for rtt in rtts),
                *(f"{row['ms'][rtt]['median'] / base[row['case'],]['ms'][rtt]['median']:.2f}" for rtt in rtts),
            )
            for row in sorted(rows, key=lambda row: row["case"])
        ],
    )  # fmt: skip


TABLES = {
    "bulk": _bulk,
    "startup": _startup,
    "storm": _storm,
    "idle": _idle,
    "tail": _tail,
    "forward": _forward,
    "shared": _shared,
    "udp": _udp,
    "jump": _jump,
    "lossy-login": _lossy_login,
    "idle-traffic": _idle_traffic,
    "keys": _keys,
    "flood": _flood,
    "outage": _outage,
    "blocked": _blocked,
    "blocked-ssh": _blocked,
    "roam": _roam,
    "outage-echo": _roam,
    "uplinks": _uplinks,
    "cat": _cat,
    "abuse": _abuse,
    "congestion": _congestion,
    "beside-copy": _beside_copy,
    "terminal-memory": _terminal_memory,
    "scale": _scale,
}


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
