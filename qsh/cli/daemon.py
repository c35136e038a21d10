"""``qshd``: what a command line comes to."""

from __future__ import annotations

import getopt
import sys
from typing import TYPE_CHECKING, Final

from qsh import __version__
from qsh.cli.daemon_arguments import Arguments, parse_arguments
from qsh.errors import QshError, StartupError

if TYPE_CHECKING:
    from qsh.config.daemon_options import DaemonConfig

__all__ = ["main"]

USAGE: Final = """\
usage: qshd [-46DdeIiqTtV] [-C connection_spec] [-E log_file] [-f config_file]
            [-g login_grace_time] [-h host_key_file] [-o option] [-p port]
"""
EXIT_FAILURE: Final = 255


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
        daemon_setup.check_addresses(config.options)
        daemon_setup.load_host_keys(config, make=False)
        daemon_setup.warn_of_files(config)
        return 0
    return daemon_setup.start(config, arguments)


def _read_config(arguments: Arguments) -> DaemonConfig:
    from qsh.cli import daemon_setup

    return daemon_setup.read_config(arguments)


if __name__ == "__main__":
    main()
