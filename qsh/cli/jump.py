"""ProxyJump, and a ProxyCommand that is qsh itself: the options of the hosts on the way (ssh.c makes a command of them)."""

from __future__ import annotations

import os
import shlex

from qsh.cli.arguments import parse_arguments
from qsh.config.resolve import resolve
from qsh.errors import ConfigError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qsh.cli.arguments import Arguments
    from qsh.config.environment import Environment
    from qsh.config.forwards import Jump
    from qsh.config.options import ClientOptions

__all__ = ["hops_of"]

MAX_HOPS = 8
_SHELL = frozenset("|&;<>()$`\\\n*?~#!{}")
"""What makes more of a command line than words and quotes."""


def hops_of(
    options: ClientOptions, arguments: Arguments, environment: Environment
) -> list[ClientOptions] | None:
    """The hosts that lead to that of ``options``, the nearest first; None if a program that is not qsh is to do it.

    Raises ConfigError, UsageError.
    """
    hops: list[ClientOptions] = []
    while options.proxy_jump is not None or options.proxy_command is not None:
        if len(hops) >= MAX_HOPS:
            raise ConfigError(f"more than {MAX_HOPS} jump hosts: do they lead to each other?")
        if options.proxy_jump is not None:
            words = _words(options.proxy_jump, options, arguments)
        else:
            found = _own_words(options)
            if found is None:
                return None
            words = found
        parsed = parse_arguments(words, environment)
        options = resolve(parsed, environment)
        hops.append(options)
    hops.reverse()
    return hops


def _words(jump: Jump, options: ClientOptions, arguments: Arguments) -> list[str]:
    """As ssh writes the command: neither -o options nor keys of the command line are for the jump host."""
    words = ["-o", "ClearAllForwardings=yes"]
    if arguments.config_file is not None:
        words += ["-F", arguments.config_file]
    if arguments.verbosity:
        words.append("-" + "v" * arguments.verbosity)
    if jump.user is not None:
        words += ["-l", jump.user]
    if jump.port > 0:
        words += ["-p", str(jump.port)]
    if jump.extra is not None:
        words += ["-J", jump.extra]
    return [*words, "-W", f"[{options.hostname}]:{options.port}", "--", jump.host]


def _own_words(options: ClientOptions) -> list[str] | None:
    """The arguments of a ProxyCommand such as ``qsh -W %h:%p jump``; None if it is anything else."""
    command = options.proxy_command or ""
    if _SHELL & set(command):
        return None
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if words[:1] == ["exec"]:
        words = words[1:]
    if not words or os.path.basename(words[0]) != "qsh":
        return None
    try:
        parsed = parse_arguments(words[1:], options.environment)
    except (ConfigError, UsageError):
        return None
    leads_there = parsed.stdio_forward == (options.hostname, options.port)
    return ["-o", "ClearAllForwardings=yes", *words[1:]] if leads_there else None
