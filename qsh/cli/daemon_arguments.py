"""The command line of qshd: sshd's (sshd.8), and -I and -i."""

from __future__ import annotations

import getopt
import os
from dataclasses import dataclass, field
from typing import Final

from qsh.errors import ConfigError

__all__ = ["GETOPT", "Arguments", "default_config", "parse_arguments"]

GETOPT: Final = "46C:DdE:ef:g:h:Iio:p:qTtV"
ROOT_CONFIG: Final = "/etc/qsh/qshd_config"


@dataclass
class Arguments:
    """What the command line said; ``overrides`` are ``(keyword, value)`` that go before the file."""

    config_file: str | None = None
    overrides: list[tuple[str, str]] = field(default_factory=list)
    foreground: bool = False
    to_stderr: bool = False
    log_file: str | None = None
    debug: int = 0
    quiet: bool = False
    test: bool = False
    dump: bool = False
    connection_spec: str | None = None
    version: bool = False
    instance: bool = False
    """Find or start the user's own qshd, for ssh."""
    packets: bool = False
    """The same, and carry a client's packets to it."""


def parse_arguments(argv: list[str]) -> Arguments:
    """Raises getopt.GetoptError, ConfigError."""
    found = Arguments()
    options, rest = getopt.getopt(argv, GETOPT)
    if rest:
        raise getopt.GetoptError(f"extra argument {rest[0]}", "")
    keywords = {"-g": "LoginGraceTime", "-h": "HostKey", "-p": "Port"}
    for flag, value in options:
        if flag in keywords:
            found.overrides.append((keywords[flag], value))
        elif flag in ("-4", "-6"):
            found.overrides.append(("AddressFamily", "inet" if flag == "-4" else "inet6"))
        elif flag == "-o":
            found.overrides.append(_override(value))
        else:
            _apply_flag(found, flag, value)
    if found.connection_spec is not None and not (found.dump or found.test):
        raise getopt.GetoptError("-C is for -T", "C")
    return found


def _override(text: str) -> tuple[str, str]:
    keyword, _, value = text.replace("=", " ", 1).strip().partition(" ")
    if not value.strip():
        raise ConfigError(f"command-line: line 0: {keyword}: missing argument", keyword=keyword)
    return keyword, value.strip()


def _apply_flag(found: Arguments, flag: str, value: str) -> None:
    if flag in ("-f", "-E", "-C"):
        setattr(
            found, {"-f": "config_file", "-E": "log_file", "-C": "connection_spec"}[flag], value
        )
    elif flag == "-d":
        found.debug += 1
        found.foreground = found.to_stderr = True
    else:
        names = {
            "-D": "foreground",
            "-e": "to_stderr",
            "-q": "quiet",
            "-t": "test",
            "-T": "dump",
            "-V": "version",
            "-I": "instance",
            "-i": "packets",
        }
        setattr(found, names[flag], True)


def default_config() -> str:
    """The configuration file when none is named."""
    if os.geteuid() == 0:
        return ROOT_CONFIG
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "qsh", "qshd_config")
