"""``qshd -I`` and ``qshd -i``: what ssh runs on a host, as the user, to get a qshd of his own (docs/protocol.md 15.6).

The instance that runs is found, or one is started: it survives the logout and ends when nobody has been logged in for
QshInstanceIdle. The client's line is in the environment, ours is written; with ``-i`` packets follow.
"""

from __future__ import annotations

import os
import pwd
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from qsh import __version__
from qsh.clock import wall_s
from qsh.errors import KeyFormatError, StartupError
from qsh.server.instance import InstanceDirectory, Running, began
from qsh.wire.instance import VARIABLE, Here, answer_line, parse_bridge, parse_request

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from qsh.cli.daemon_arguments import Arguments
    from qsh.config.daemon_options import DaemonConfig

__all__ = ["serve"]

TRIES: Final = 1000

LOOPBACK: Final = "127.0.0.0/8,::1"
"""Where what ssh brings comes from, and where others of this machine can misbehave: there are no penalties."""


def serve(read_config: Callable[[], DaemonConfig], arguments: Arguments, *, packets: bool) -> int:
    """The exit status. Raises StartupError."""
    if os.isatty(0):
        raise StartupError("qshd: -I and -i are for qsh, which runs them through ssh")
    line = os.environ.pop(VARIABLE, "").encode(errors="replace")
    if packets and (where := parse_bridge(line)) is not None:
        return _carry(Here(where[1], (), __version__), where[0])
    key = parse_request(line)
    if key is None:
        raise StartupError("qshd: the client speaks another version of this")
    directory = InstanceDirectory()
    try:
        with directory.locked():
            if key:
                directory.admit(_usable(key), wall_s())
            running = directory.running() or _start(read_config(), arguments, directory)
    except OSError as error:
        raise StartupError(f"qshd: {error.strerror or error}") from None
    here = Here(running.port, running.keys, __version__)
    if packets:
        return _carry(here)
    _say(here)
    return 0


def _say(here: Here) -> None:
    data = answer_line(here)
    while data:
        data = data[os.write(1, data) :]


def _carry(here: Here, moved_to: str = "") -> int:
    from qsh.server.stdio_packets import carry

    _say(here)
    return carry(0, 1, here.port, moved_to)


def _usable(key: str) -> str:
    """What is written to a file of keys must be one. Raises StartupError."""
    from qsh.auth.keys import PublicKey

    try:
        found = PublicKey.from_line(key)
        found.require_usable()
    except KeyFormatError as error:
        raise StartupError(f"qshd: the client's key: {error}") from None
    return f"{found.type} {found.base64()}"


def _start(config: DaemonConfig, arguments: Arguments, directory: InstanceDirectory) -> Running:
    """Start an instance that goes on without us. Packets that come before it is ready wait in its socket. Raises StartupError."""
    from qsh.cli import daemon_setup

    daemon_setup.try_host_keys(config)
    port, sock = _bind(config)
    pid = os.fork()
    if pid == 0:
        status = daemon_setup.FAILED
        try:
            status = _be_instance(config, arguments, directory, sock)
        except StartupError as error:
            sys.stderr.write(f"{error}\n")
        finally:
            sys.stderr.flush()
            os._exit(status)
    sock.close()
    keys = daemon_setup.load_host_keys(config).public
    lines = tuple(f"{each.type} {each.base64()}" for each in keys)
    running = Running(port, pid, began(pid), lines)
    directory.write(running)
    return running


def _be_instance(
    config: DaemonConfig, arguments: Arguments, directory: InstanceDirectory, sock: socket.socket
) -> int:
    from qsh.cli import daemon_setup

    os.setsid()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    log = os.open(directory.log, flags, 0o600)
    null = os.open(os.devnull, os.O_RDWR)
    for number, descriptor in enumerate((null, null, log)):
        os.dup2(descriptor, number)
    os.closerange(3, sock.fileno())  # the lock among them: it is whoever started us's
    os.closerange(sock.fileno() + 1, 256)
    os.chdir("/")
    options = config.options
    directory_of_sessions = options.session_directory
    if directory_of_sessions == "none":
        directory_of_sessions = os.path.join(directory.path, "sessions")
    own = replace(
        options,
        authorized_keys_file=(
            *(path for path in options.authorized_keys_file if path != "none"),
            directory.keys,
        ),
        session_directory=directory_of_sessions,
        pid_file="none",
        banner="none",
        allow_users=(pwd.getpwuid(os.geteuid()).pw_name,),
        per_source_penalty_exempt_list=LOOPBACK
        if options.per_source_penalty_exempt_list == "none"
        else f"{options.per_source_penalty_exempt_list},{LOOPBACK}",
    )
    settings = replace(arguments, foreground=True, to_stderr=True)
    return daemon_setup.start(replace(config, options=own), settings, sock)


def _bind(config: DaemonConfig) -> tuple[int, socket.socket]:
    """A UDP socket on the first free port of QshInstancePorts. Raises StartupError."""
    from qsh.cli import daemon_setup

    low, high = _ports(config.options.qsh_instance_ports)
    reason = ""
    for port in range(low, min(high, low + TRIES) + 1):
        try:
            return port, daemon_setup.bind_one("", port)
        except OSError as error:
            reason = error.strerror or str(error)
    raise StartupError(f"qshd: no UDP port of {low} to {high} can be had: {reason}")


def _ports(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    if not (low.isdecimal() and (high or low).isdecimal()):
        raise StartupError(f"qshd: QshInstancePorts {text}: not a port nor FIRST-LAST")
    found = int(low), int(high or low)
    if not 0 < found[0] <= found[1] <= 0xFFFF:
        raise StartupError(f"qshd: QshInstancePorts {text}: not a port nor FIRST-LAST")
    return found
