"""``QshSessions ask``: before a shell is opened, ask whether to go on with a detached session of the user's instead."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from qsh.cli.sessions import describe
from qsh.client import host_state
from qsh.client.run import sessions
from qsh.clock import wall_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.config.options import ClientOptions

__all__ = ["choices", "is_wanted", "pick"]

NEW_SHELL = ""


def is_wanted(options: ClientOptions) -> bool:
    """Only for a login shell on a terminal, and where a qshd has answered before: others may know no sessions at all."""
    if options.qsh_sessions != "ask" or options.command or options.session_type != "default":
        return False
    if not (options.wants_tty(stdin_is_terminal=os.isatty(0)) and os.isatty(0) and os.isatty(1)):
        return False
    port = options.qsh_port or options.port
    return host_state.load(options.user, options.hostname, port).answered


def pick(options: ClientOptions, hops: Sequence[ClientOptions] = ()) -> str:
    """The name of the session to attach to; empty: a new shell is wanted, or there is nothing to choose.

    Raises KeyboardInterrupt when the user gives up.
    """
    status, answer = sessions(options, "list", hops=hops)
    try:
        rows = json.loads(answer) if status == 0 else []
    except (ValueError, RecursionError):
        return NEW_SHELL
    found = choices(rows, wall_s())
    if not found:
        return NEW_SHELL
    from prompt_toolkit.shortcuts import choice

    return choice(
        f"Sessions on {options.hostname}:",
        options=[*found, (NEW_SHELL, "a new shell")],
        default=found[0][0],
    )


def choices(rows: Sequence[Any], now_s: float) -> list[tuple[str, str]]:
    """Names and descriptions of those that answer and nobody is attached to, the one used last first, made visible."""
    waiting = [
        row
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict)
        and isinstance(row.get("name"), str)
        and not row.get("attached")
        and not row.get("ended")
        and row.get("answers") is not False
    ]
    waiting.sort(key=_traffic_s, reverse=True)
    return [(row["name"], describe(row, now_s)) for row in waiting]


def _traffic_s(row: dict[str, Any]) -> float:
    when = row.get("traffic")
    return when if isinstance(when, int | float) else 0.0
