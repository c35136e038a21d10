"""``qshctl`` and the terminal sessions of a user on a host: list, attach, detach, kill, history (docs/protocol.md 10.11)."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qsh.cli.arguments import parse_arguments
from qsh.cli.environment import SystemEnvironment
from qsh.cli.standard_output import print_text
from qsh.client.log import log
from qsh.client.run import attach, sessions
from qsh.client.text import visible, visible_lines
from qsh.clock import wall_s
from qsh.config.resolve import resolve
from qsh.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.config.options import ClientOptions

__all__ = ["attach_to", "bootstrap", "command", "describe", "history", "list_sessions", "table"]

FAILED: Final = 255
COLUMNS: Final = (
    "NAME",
    "USER",
    "FROM",
    "STARTED",
    "LAST TRAFFIC",
    "SIZE",
    "STATE",
    "COMMAND",
)
_HARMFUL: Final = re.compile("\x1b(?!\\[[0-9;:]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")
"""What history lines do not need: all control characters but those of colours, tabs and line ends."""
UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class _Target(NamedTuple):
    options: ClientOptions
    words: list[str]
    hops: list[ClientOptions]


def _target(argv: Sequence[str], wanted: Sequence[str], verb: str) -> _Target:
    """Options of a command line as qsh takes it; what follows the destination are the verb's own words."""
    environment = SystemEnvironment("qsh")
    arguments = parse_arguments(argv, environment)
    words = (arguments.command or "").split()
    arguments.command = None
    if len(words) != len(wanted):
        names = " ".join(wanted)
        raise UsageError(f"usage: qshctl {verb} [option ...] destination {names}".rstrip())
    options = resolve(arguments, environment)
    log.set_level(options.log_level)
    for warning in (*arguments.warnings, *options.warnings):
        log.info(warning)
    hops: list[ClientOptions] = []
    if options.proxy_jump is not None or options.proxy_command is not None:
        from qsh.cli.jump import hops_of

        hops = hops_of(options, arguments, environment) or []
    return _Target(options, words, hops)


def _complain(error: Exception) -> int:
    sys.stderr.write(f"{error}\n")
    return FAILED


def list_sessions(argv: Sequence[str], *, as_json: bool = False) -> int:
    """Print the sessions on a host as a table, or as the JSON that the host sent; the exit status."""
    try:
        target = _target(argv, (), "sessions")
    except (ConfigError, UsageError) as error:
        return _complain(error)
    status, answer = sessions(target.options, "list", hops=target.hops)
    if status:
        return status
    if as_json:
        return print_text(visible_lines(answer.decode(errors="replace")), "qshctl")
    try:
        rows = json.loads(answer)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError
    except (ValueError, RecursionError):
        return _complain(UsageError("qshctl: the host's answer is no list of sessions"))
    if not rows:
        sys.stderr.write(f"no sessions on {target.options.hostname}\n")
        return 0
    return print_text(table(rows, wall_s()), "qshctl")


def attach_to(argv: Sequence[str], *, history_lines: int = 0) -> int:
    """Attach this terminal to a running session; the exit status is its program's, 0 when detached again."""
    try:
        target = _target(argv, ("name",), "attach")
        if not 0 <= history_lines <= 2000:
            raise UsageError("--lines: 0 to 2000 lines of history can be printed above the screen")
    except (ConfigError, UsageError) as error:
        return _complain(error)
    return attach(target.options, target.words[0], history_lines=history_lines, hops=target.hops)


def bootstrap(argv: Sequence[str]) -> int:
    """Find or start the user's own qshd on a host through SSH, and say where it is; the exit status."""
    from qsh.client import host_state

    try:
        target = _target(argv, (), "bootstrap")
    except (ConfigError, UsageError) as error:
        return _complain(error)
    options = target.options
    options.qsh_bootstrap = "yes"
    status, _ = sessions(options, "list", hops=target.hops)
    if status:
        return status
    port = options.qsh_port or options.port
    words = host_state.load(options.user, options.hostname, port).instance.split()
    where = f"answers on UDP port {words[0]}" if words else "is reached through SSH"
    return print_text(f"qshd of {options.user} on {visible(options.hostname)} {where}\n", "qshctl")


def command(verb: str, argv: Sequence[str]) -> int:
    """``detach`` or ``kill`` one session; the exit status."""
    try:
        target = _target(argv, ("name",), verb)
    except (ConfigError, UsageError) as error:
        return _complain(error)
    status, _ = sessions(target.options, f"{verb} {target.words[0]}", hops=target.hops)
    return status


def history(argv: Sequence[str], lines: int) -> int:
    """Print lines that scrolled off a session's screen; the exit status."""
    try:
        target = _target(argv, ("name",), "history")
        if not 1 <= lines <= 10_000:
            raise UsageError("--lines: 1 to 10000 lines are kept")
    except (ConfigError, UsageError) as error:
        return _complain(error)
    status, answer = sessions(
        target.options, f"history {target.words[0]} {lines}", hops=target.hops
    )
    if status:
        return status
    return print_text(_HARMFUL.sub("", answer.decode(errors="replace")), "qshctl")


def table(rows: Sequence[dict[str, Any]], now_s: float) -> str:
    """The sessions as lines of columns; ``now_s`` in seconds since 1970. What the host says is made visible."""
    lines = [COLUMNS, *(_columns(row, now_s) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def _columns(row: dict[str, Any], now_s: float) -> tuple[str, ...]:
    attached, nobody = row.get("attached", 0), "silent" if row.get("silent") else "detached"
    state = nobody if not attached else "attached" if attached == 1 else f"attached × {attached}"
    if row.get("ended"):
        state = "ended"
    if row.get("answers") is False:
        state = "no answer"
    return (
        _text(row, "name"),
        _text(row, "user"),
        _text(row, "host"),
        _ago(row, "started", now_s),
        _ago(row, "traffic", now_s),
        f"{_text(row, 'cols')}×{_text(row, 'rows')}",
        state,
        _text(row, "command"),
    )


def describe(row: dict[str, Any], now_s: float) -> str:
    """One session in a line of words."""
    command, host = _text(row, "command"), _text(row, "host")
    started, traffic = _ago(row, "started", now_s), _ago(row, "traffic", now_s)
    return (
        f"{_text(row, 'name')}: {command}, from {host}, started {started}, last traffic {traffic}"
    )


def _text(row: dict[str, Any], key: str) -> str:
    return visible(str(row.get(key, "?")))[:64] or "-"


def _ago(row: dict[str, Any], key: str, now_s: float) -> str:
    then_s = row.get(key)
    if not isinstance(then_s, int | float):
        return "?"
    seconds = max(0, int(now_s - then_s))
    for unit_s, name in UNITS:
        if seconds >= unit_s:
            return f"{seconds // unit_s} {name} ago"
    return "now"
