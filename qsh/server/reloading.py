"""The configuration read again on SIGHUP, in processes that run (docs/architecture.md 2.13).

    monitor ─ Reload ─► spawner reads and judges the file, binds what is new
    front ◄─ NewListener (+ socket), Rules, Identity (+ socket) ─ monitor ◄─ NewListener (+ socket), Reloaded ─ spawner

The spawner does it because all that is forked from now on is made of what it has, and because it has no keys and no peers. A file
with an error changes nothing. Connections and sessions keep the rules that they began with.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qsh.server.admission import limits_of
from qsh.server.log import LEVELS
from qsh.server.requests import NewListener, Reloaded, Rules

if TYPE_CHECKING:
    from qsh.config.daemon_options import DaemonConfig, DaemonOptions
    from qsh.server.log import Log
    from qsh.server.packets import PacketSocket
    from qsh.server.requests import Address

__all__ = ["Reread", "address_of", "rules_of", "send_reread", "set_level"]


@dataclass(frozen=True, slots=True)
class Reread:
    """What reading again came to: without ``config`` the old one stays."""

    config: DaemonConfig | None
    errors: tuple[str, ...] = ()
    rules: Rules | None = None
    added: tuple[socket.socket, ...] = field(default=())
    other_keys: bool = False
    """Host keys or certificates are not those that the signer has."""


def address_of(sock: socket.socket) -> Address:
    """What tells one listener from another, in every process that has it."""
    host, port = sock.getsockname()[:2]
    kind = "tcp " if sock.type == socket.SOCK_STREAM else ""
    return kind + str(host), int(port)


def rules_of(
    options: DaemonOptions, banner: str, level: str, listening: list[socket.socket]
) -> Rules:
    """What monitor and front take from a configuration."""
    return Rules(
        float(options.login_grace_time),
        options.max_auth_tries,
        banner,
        level,
        limits_of(options),
        [address_of(sock) for sock in listening],
    )


def send_reread(reread: Reread, monitor: PacketSocket[Any]) -> None:
    """From the spawner. Raises OSError when the monitor is gone."""
    for sock in reread.added:
        monitor.send(NewListener(), [os.dup(sock.fileno())])
    monitor.send(Reloaded(list(reread.errors), reread.rules, reread.other_keys))


def set_level(log: Log, level: str) -> None:
    """A process's own log."""
    with contextlib.suppress(KeyError):
        log.level = LEVELS[level.upper()]
