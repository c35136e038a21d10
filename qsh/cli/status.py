"""``qshctl status``: how the connections of this user's clients and masters do."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from typing import Any, Final

from qsh.cli.sessions import FAILED
from qsh.client.connection_info import SILENCE_S, duration, rate
from qsh.client.control_path import connect
from qsh.client.status_directory import pids, socket_of
from qsh.client.text import visible

__all__ = ["ask_all", "status", "table"]

ANSWER_S: Final = 2.0
"""A process that is stopped does not answer."""
MAX_ANSWER: Final = 1 << 16
MAX_NUMBER: Final = 2**63
COLUMNS: Final = (
    *("PID", "HOST", "KIND", "FOR", "SILENT", "PATH", "RTT", "QUEUE", "LOST", "MTU", "WINDOW"),
    *("IN", "OUT", "MOVES", "RESUMES"),
)


def status(*, as_json: bool) -> int:
    """Print a table, or a list in JSON; the exit status."""
    rows = ask_all()
    if not rows and not as_json:
        sys.stderr.write("no connections\n")
        return 0
    try:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n" if as_json else table(rows))
        sys.stdout.flush()
    except BrokenPipeError:
        return FAILED
    return 0


def ask_all() -> list[dict[str, Any]]:
    """What each process says of itself, by its number. What is left of processes that are gone is removed."""
    asked = [(pid, sock) for pid in pids() if (sock := _ask(pid)) is not None]
    rows = []
    for pid, sock in asked:
        with sock:
            rows.append(_answer(sock) | {"pid": pid})
    return rows


def _ask(pid: int) -> socket.socket | None:
    path = socket_of(pid)
    try:
        sock = socket.socket(fileno=connect(path).detach())
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return None
    except OSError:
        return None
    sock.settimeout(ANSWER_S)
    return sock


def _answer(sock: socket.socket) -> dict[str, Any]:
    received = b""
    try:
        while (data := sock.recv(MAX_ANSWER)) and len(received) < MAX_ANSWER:
            received += data
        answer = json.loads(received)
    except (OSError, ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def table(rows: list[dict[str, Any]]) -> str:
    """As lines of columns."""
    lines = [COLUMNS, *(_columns(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def _columns(row: dict[str, Any]) -> tuple[str, ...]:
    sent = _number(row, "sent_packets")
    known = "transport" in row
    share = f"{100 * _number(row, 'lost_packets') / max(1.0, sent):.1f} %"
    path = f"{_text(row, 'transport')} {_text(row, 'local')} -> {_text(row, 'remote')}"
    silence_s = _number(row, "unanswered_s")
    return (
        _text(row, "pid"),
        _text(row, "host"),
        _text(row, "kind"),
        *(
            (
                duration(_number(row, "duration_s")),
                f"{silence_s:.0f} s" if silence_s >= SILENCE_S else "-",
                path,
                f"{_number(row, 'rtt_ms'):.1f} ms",
                f"{_number(row, 'queue_ms'):.1f} ms",
                share,
                _text(row, "mtu"),
                _text(row, "window"),
                rate(_number(row, "received_bytes_per_s")),
                rate(_number(row, "sent_bytes_per_s")),
                _text(row, "migrations"),
                _text(row, "resumes"),
            )
            if known
            else ("?",) * 12
        ),
    )


def _text(row: dict[str, Any], key: str) -> str:
    return visible(str(row.get(key, "?")))[:64] or "-"


def _number(row: dict[str, Any], key: str) -> float:
    value = row.get(key)
    if isinstance(value, int | float) and abs(value) <= MAX_NUMBER:
        return float(value)
    return 0.0
