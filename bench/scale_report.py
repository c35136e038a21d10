"""What bench/scale.py has found: tables, and curves of the cost against the number of sessions as one SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["curves", "lines", "table"]

WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 320, 220, 46, 28, 26
COLOURS = {"bash": "#d1495b", "cat": "#30638e"}


def lines(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """What was measured, the figure, the goal."""
    found = []
    for row in rows:
        found += LINES[row["kind"]](row)
    rates = {row["tool"]: row for row in rows if row["kind"] == "logins"}
    if len(rates) == 2:
        faster = rates["qsh"]["per_s"] / rates["ssh"]["per_s"]
        found.append(("logins/s, qsh over ssh", f"{faster:.2f}", "≥ 3"))
    return found


def _sessions(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    count, echo = row["sessions"], row["echo_ms"]
    goal = count == 1000
    what = f"{count} sessions ({_program(row)})"
    return [
        (
            f"{what}, a key/s each: echo median / p99 ms",
            f"{echo['median']} / {echo['p99']}",
            "p99 ≤ 20" if goal else "",
        ),
        (
            f"{what}: CPU % of a core, server / load",
            f"{row['typing_cpu_percent']:.0f} / {row['client_cpu_percent']:.0f}",
            "",
        ),
        (f"{what}: PSS MB each", str(row["pss_per_session_mb"]), "≤ 3" if goal else ""),
        (
            f"{what}, idle: CPU % of a core",
            str(row["idle_cpu_percent"]),
            "≤ 1" if goal else "",
        ),
        (f"{what}: one more login with a command, ms", str(row["login_ms"]), ""),
    ]


def _program(row: dict[str, Any]) -> str:
    return str(row.get("program", "bash"))


def _connections(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    count = row["connections"]
    return [
        (
            f"{count} idle connections in one front: MB (kB each)",
            f"{row['all_mb']:.0f} ({row['kb_each']:.0f})",
            "≤ 1,024 at 10,000",
        ),
        (f"{count} idle connections: CPU % of a core", str(row["idle_cpu_percent"]), ""),
    ]


def _logins(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    tool = row["tool"]
    roles = [
        (f"CPU ms per login: {tool}, {name}", _role(role), "")
        for name, role in row.get("roles", {}).items()
    ]
    return [
        (
            f"logins/s with a command: {tool} (server's core used, %)",
            f"{row['per_s']} ({row['server_percent']})",
            "",
        ),
        (
            f"CPU ms per login: {tool} server / load",
            f"{row['server_ms_each']} / {row['client_ms_each']}",
            "",
        ),
        *roles,
    ]


def _role(role: dict[str, float]) -> str:
    text = f"{role['ms']:.2f}"
    if role.get("processes"):
        text += f" ({role['processes']:g} processes, {role['faults']:.0f} page faults)"
    return text


LINES: dict[str, Callable[[dict[str, Any]], list[tuple[str, str, str]]]] = {
    "sessions": _sessions,
    "connections": _connections,
    "logins": _logins,
}

PANELS = (
    ("PSS of the server, MB", lambda row: row["pss_mb"]),
    ("CPU while all are idle, % of a core", lambda row: row["idle_cpu_percent"]),
    ("CPU at a key a second, % of a core", lambda row: row["typing_cpu_percent"]),
    ("echo p99, ms", lambda row: row["echo_ms"]["p99"]),
    ("one more login, ms", lambda row: row["login_ms"]),
)


def curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Beside each other, the number of sessions to the right. Written by hand: five polylines need no library."""
    rows = [row for row in rows if row["kind"] == "sessions"]
    if not rows:
        return
    panels = []
    for number, (title, value) in enumerate(PANELS):
        curve = {
            program: [
                (row["sessions"], float(value(row))) for row in rows if _program(row) == program
            ]
            for program in COLOURS
        }
        panels.append(_panel(title, curve, number * WIDTH))
    width = WIDTH * len(PANELS)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>\n'
        + "\n".join(panels)
        + "\n</svg>\n"
    )


def _panel(title: str, lines: dict[str, list[tuple[int, float]]], left: int) -> str:
    points = [point for line in lines.values() for point in line]
    right, top = max(x for x, _ in points), max(y for _, y in points) or 1.0
    wide, high = WIDTH - LEFT - 24, HEIGHT - BELOW - ABOVE - 14
    base = HEIGHT - BELOW

    def at(x: float, y: float) -> tuple[float, float]:
        return round(left + LEFT + x / right * wide, 1), round(base - y / top * high, 1)

    drawn = [
        f'<text x="{left + LEFT}" y="16" font-size="12">{title}</text>',
        f'<path d="M{left + LEFT} {ABOVE + 8}V{base}H{left + WIDTH - 20}" fill="none" stroke="#8d99ae"/>',
    ]
    for number, (program, line) in enumerate(lines.items()):
        if line:
            beside = number * 14 - 6  # above its point, or below the other line's
            drawn += _line(line, [at(x, y) for x, y in line], COLOURS[program], beside)
            drawn.append(
                f'<text x="{left + LEFT + 8}" y="{ABOVE + 18 + 13 * number}" fill="{COLOURS[program]}">{program}</text>'
            )
    drawn += [
        f'<text x="{at(x, 0)[0]}" y="{base + 15}" text-anchor="middle">{x}</text>'
        for x in sorted({x for x, _ in points})
    ]
    return "\n".join(drawn)


def _line(
    points: Sequence[tuple[int, float]],
    places: Sequence[tuple[float, float]],
    colour: str,
    beside: int,
) -> list[str]:
    drawn = [
        f'<polyline points="{" ".join(f"{x},{y}" for x, y in places)}" fill="none" stroke="{colour}" stroke-width="2"/>'
    ]
    for (_, value), (x, y) in zip(points, places, strict=True):
        drawn.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        drawn.append(
            f'<text x="{x}" y="{y + beside}" text-anchor="end" fill="{colour}">{value:g}</text>'
        )
    return drawn


def table(rows: list[dict[str, Any]]) -> str:
    return markdown_table(("many at a time, on loopback", "measured", "goal"), lines(rows))
