"""What the spawner does on SIGHUP: read the configuration again, see what has changed, bind what is new."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from qsh.cli import daemon_setup
from qsh.cli.daemon_arguments import default_config
from qsh.config.daemon_parser import BadConfiguration
from qsh.config.daemon_schema import SCHEMA
from qsh.errors import ConfigError, StartupError
from qsh.server import named_files
from qsh.server.reloading import Reread, rules_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from qsh.cli.daemon_arguments import Arguments
    from qsh.config.daemon_options import DaemonConfig, DaemonOptions

__all__ = ["Reloader"]

AT_START: Final = (
    "pid_file",
    "syslog_facility",
    "qsh_congestion",
    "qsh_log_format",
    "qsh_metrics_socket",
    "qsh_exec_max",
    "qsh_instance_idle",
    "qsh_instance_ports",
)
"""What processes that run cannot take over."""
_NAMES: Final = {keyword.field: keyword.name for keyword in SCHEMA}
Place = tuple[str, str, int]


class Reloader:
    """Lives in the spawner: the sockets here are those of the fronts to come."""

    def __init__(
        self,
        arguments: Arguments,
        config: DaemonConfig,
        sockets: dict[Place, socket.socket],
        *,
        fixed: bool = False,
    ) -> None:
        """``fixed``: a socket unit says where to listen, not the file."""
        self._arguments = arguments
        self.config = config
        self.keys = b""
        """As :func:`daemon_setup.try_host_keys` has it."""
        self._sockets, self._fixed = sockets, fixed
        if arguments.config_file is not None:  # we may go to another directory
            arguments.config_file = os.path.abspath(arguments.config_file)
        self._path = arguments.config_file or default_config()
        self._there = os.path.exists(self._path)
        try:
            self._directory = os.getcwd()
        except OSError:  # it was removed
            self._directory = "/"

    @property
    def sockets(self) -> list[socket.socket]:
        """All that is listened on."""
        return list(self._sockets.values())

    def reload(self) -> Reread:
        """Never raises for anything that the file or the system says."""
        try:
            there = os.path.exists(self._path)
            if (
                self._there and not there
            ):  # at a start the defaults would hold: they let in whom the file kept out
                return Reread(None, (f"{self._path}: No such file or directory",))
            daemon_setup.check_own_files(self._arguments)
            with self._where_it_was_started():
                config = daemon_setup.read_config(self._arguments)
                keys = daemon_setup.try_host_keys(config)
        except BadConfiguration as error:
            return Reread(None, tuple(error.report()))
        except (ConfigError, StartupError, OSError, ValueError) as error:
            return Reread(None, (str(error),))
        errors = [
            f"{_NAMES[name]} was changed, which takes effect when qshd is started again"
            for name in AT_START
            if getattr(config.options, name) != getattr(self.config.options, name)
        ]
        added, failed = self._bind(config.options)
        errors += failed
        wanted = self._wanted(config.options)
        if not self._arguments.instance and not any(place in wanted for place in self._sockets):
            for sock in added:
                sock.close()
            self._sockets = {p: s for p, s in self._sockets.items() if s not in added}
            return Reread(None, (*errors, "there would be nothing to listen on"))
        self._drop(wanted)
        self.config, self._there = config, there
        others, self.keys = keys != self.keys, keys
        options = config.options
        rules = rules_of(
            options,
            daemon_setup.read_banner(options),
            daemon_setup.log_level(options, self._arguments),
            self.sockets,
        )
        return Reread(
            config,
            (*config.warnings, *errors, *named_files.complaints(config)),
            rules,
            tuple(added),
            others,
        )

    def _where_it_was_started(self) -> contextlib.AbstractContextManager[None]:
        """Names of files mean there what they have meant at the start."""
        there = os.access(self._directory, os.X_OK)
        return contextlib.chdir(self._directory) if there else contextlib.nullcontext()

    def _bind(self, options: DaemonOptions) -> tuple[list[socket.socket], list[str]]:
        added: list[socket.socket] = []
        errors: list[str] = []
        streams = any(kind == "TCP" for kind, _, _ in self._sockets)
        for place in self._wanted(options):
            kind, host, port = place
            if place in self._sockets:
                continue
            if kind == "TCP" and not streams:
                errors.append("QshTcpPort was set, which takes effect when qshd is started again")
                continue
            try:
                self._sockets[place] = _BINDERS[kind](host, port)
                added.append(self._sockets[place])
            except OSError as error:
                reason = error.strerror or error
                errors.append(f"cannot listen on {host or '*'} port {port} ({kind}): {reason}")
        return added, errors

    def _wanted(self, options: DaemonOptions) -> list[Place]:
        return list(self._sockets) if self._fixed else _places(options)

    def _drop(self, wanted: list[Place]) -> None:
        for place in [place for place in self._sockets if place not in wanted]:
            self._sockets.pop(place).close()


def _places(options: DaemonOptions) -> list[Place]:
    return [
        *(("UDP", host, port) for host, port in options.listen()),
        *(("TCP", host, port) for host, port in options.listen_tcp()),
    ]


_BINDERS: Final[dict[str, Callable[[str, int], socket.socket]]] = {
    "UDP": daemon_setup.bind_one,
    "TCP": daemon_setup.bind_tcp,
}
