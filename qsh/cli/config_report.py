"""``qshctl config``: every option for a host, and where it was set.

``qsh -G`` prints OpenSSH's format, which other programs read; this is for people. What is printed is a
configuration file too: values as ssh_config(5) has them, the source as a comment.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from qsh.cli.arguments import parse_arguments
from qsh.cli.environment import SystemEnvironment
from qsh.cli.standard_output import print_text
from qsh.config.dump import dump
from qsh.config.resolve import resolve
from qsh.config.schema import IGNORED, KEYWORDS, REFUSED
from qsh.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qsh.config.environment import Environment
    from qsh.config.options import ClientOptions
    from qsh.config.schema import Keyword

__all__ = ["lines", "report"]

FAILED: Final = 255
WIDTH: Final = 48
"""Column of the sources."""
STRUCTURE: Final = frozenset({"host", "match", "include"})
"""Keywords that say where others apply."""
TYPED: Final = "command line"
COMMAND_LINE: Final = "command-line line 0"
"""What messages about ``-o`` call it, as ssh's do."""
TRUTH: Final = {"true": "yes", "false": "no"}
"""-G prints some of both kinds."""


def report(argv: Sequence[str], environment: Environment | None = None) -> int:
    """Print the report for a command line as qsh takes it; the exit status."""
    try:
        environment = environment or SystemEnvironment("qsh")
        arguments = parse_arguments(argv, environment)
        arguments.print_config = True  # no name is looked up
        options = resolve(arguments, environment)
        text = "".join(f"{line}\n" for line in lines(options))
    except (ConfigError, UsageError) as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    for warning in (*arguments.warnings, *options.warnings):
        sys.stderr.write(f"{warning}\n")
    return print_text(text, "qshctl")


def lines(options: ClientOptions) -> Iterator[str]:
    """The report: a heading, what was set, then the defaults."""
    yield f"# {options.host_arg}: {options.user}@{options.hostname}"
    written = _written(options)
    rows = [row for row in KEYWORDS.values() if row.name.lower() not in STRUCTURE]
    rows = sorted({row.name: row for row in rows}.values(), key=lambda row: row.name.lower())
    seen = {row.name: options.is_set(row.name) for row in rows}
    for wanted in (True, False):
        for row in rows:
            if seen[row.name] is wanted:
                yield from _row(options, row, written, _source(options, row, wanted))


def _written(options: ClientOptions) -> dict[str, list[str]]:
    """What -G prints: key → values."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in dump(options).splitlines():
        key, _, value = line.partition(" ")
        found[key.lower()].append(value)
    return found


def _source(options: ClientOptions, row: Keyword, is_set: bool) -> str:
    if not is_set:
        return "default"
    source = options.source(row.name) or TYPED
    if source == COMMAND_LINE:
        source = "-o"
    if row.status == IGNORED:
        return f"{source}; no effect in qsh"
    if row.status == REFUSED:
        return f"{source}; qsh refuses it"
    return source


def _row(
    options: ClientOptions, row: Keyword, written: dict[str, list[str]], source: str
) -> Iterator[str]:
    values = written.get(row.name.lower())
    if values is None:
        text = _text(getattr(options, row.attribute, None))
        values = [text] if text else []
    if not values and source == "default":
        return
    for value in values or ["none"]:
        yield f"{row.name} {TRUTH.get(value, value)}".ljust(WIDTH - 1) + f" # {source}"


def _text(value: object) -> str:
    """A value that -G does not print."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return " ".join(filter(None, map(_text, value)))
    return str(value)
