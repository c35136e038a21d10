"""``qshd``: sshd's command line (sshd.8) around the server's processes."""

from __future__ import annotations

import getopt
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qsh import __version__
from qsh.errors import ConfigError, QshError, StartupError

if TYPE_CHECKING:
    from qsh.config.daemon_options import DaemonConfig

__all__ = ["GETOPT", "Arguments", "main", "parse_arguments"]

GETOPT: Final = "46C:DdE:ef:g:h:Iio:p:qTtV"
USAGE: Final = """\
usage: qshd [-46DdeIiqTtV] [-C connection_spec] [-E log_file] [-f config_file]
            [-g login_grace_time] [-h host_key_file] [-o option] [-p port]
"""
ROOT_CONFIG: Final = "/etc/qsh/qshd_config"
EXIT_FAILURE: Final = 255


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


def main(argv: list[str] | None = None) -> None:
    """Entry point; ends the process."""
    try:
        sys.exit(_main(sys.argv[1:] if argv is None else argv))
    except getopt.GetoptError as error:
        sys.stderr.write(f"qshd: {error.msg}\n{USAGE}")
        sys.exit(EXIT_FAILURE)
    except StartupError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_FAILURE)
    except QshError as error:
        sys.stderr.write(f"qshd: {error}\n")
        sys.exit(EXIT_FAILURE)
    except KeyboardInterrupt:
        sys.exit(130)


def _main(argv: list[str]) -> int:
    arguments = parse_arguments(argv)
    if arguments.version:
        sys.stderr.write(f"qshd_{__version__}, OpenSSH_compatible\n")
        return 0
    if arguments.instance or arguments.packets:
        from qsh.cli.instance import serve

        return serve(lambda: _read_config(arguments), arguments, packets=arguments.packets)
    from qsh.cli import daemon_setup

    config = daemon_setup.read_config(arguments)
    if arguments.dump:
        sys.stdout.write(daemon_setup.dump(config, arguments.connection_spec))
        return 0
    if arguments.test:
        daemon_setup.check_own_files(arguments)
        daemon_setup.load_host_keys(config, make=False)
        daemon_setup.warn_of_files(config)
        return 0
    return daemon_setup.start(config, arguments)


def _read_config(arguments: Arguments) -> DaemonConfig:
    from qsh.cli import daemon_setup

    return daemon_setup.read_config(arguments)


def default_config() -> str:
    """The configuration file when none is named."""
    if os.geteuid() == 0:
        return ROOT_CONFIG
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "qsh", "qshd_config")


if __name__ == "__main__":
    main()
