"""Which forwards a login may have: the configuration, Match and all, and its key's options (model: OpenSSH's channels.c).

    switch                                   what it is about
    DisableForwarding                        everything
    no-port-forwarding                       everything but the agent and X11
    AllowTcpForwarding                       host and port: no, local (connect), remote (listen)
    AllowStreamLocalForwarding               paths of unix sockets, likewise
    PermitOpen, permitopen                   where to connect to; both must agree
    PermitListen, permitlisten               where to listen; both must agree
    AllowAgentForwarding, no-agent-forwarding    the client's agent
    X11Forwarding, no-X11-forwarding         its display
A path is no host and port: a list lets one through only by ``*:*`` (to connect), or not at all (to listen), as in OpenSSH.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qsh.forward.permits import NOTHING, listens, opens, permits

if TYPE_CHECKING:
    from qsh.auth.key_options import KeyOptions
    from qsh.config.daemon_options import DaemonOptions
    from qsh.wire.messages import Target

__all__ = ["ForwardRules"]

_LOCAL: Final = ("yes", "local")
_REMOTE: Final = ("yes", "remote")


@dataclass(frozen=True, slots=True)
class ForwardRules:
    """Of one login."""

    options: DaemonOptions
    key: KeyOptions

    def may_connect(self, target: Target) -> bool:
        """For -L, -D and -W."""
        if not self._switched_on(target, _LOCAL):
            return False
        if target.path:
            host, port = target.path.decode(errors="surrogateescape"), -1
        else:
            host, port = target.host, target.port
        lists = (self.key.permit_open, permits(self.options.permit_open))
        return all(not found or any(opens(p, host, port) for p in found) for found in lists) and (
            self.options.permit_open != NOTHING
        )

    def may_listen(self, target: Target) -> bool:
        """For -R."""
        if not self._switched_on(target, _REMOTE) or self.options.permit_listen == NOTHING:
            return False
        lists = [self.key.permit_listen, permits(self.options.permit_listen)]
        if target.path:
            return not any(lists)
        return all(
            not found or any(listens(p, target.host, target.port) for p in found) for found in lists
        )

    @property
    def may_call_agent(self) -> bool:
        """For -A."""
        on = bool(self.options.allow_agent_forwarding) and not self.options.disable_forwarding
        return on and self.key.agent_forwarding

    @property
    def may_call_display(self) -> bool:
        """For -X and -Y."""
        on = bool(self.options.x11_forwarding) and not self.options.disable_forwarding
        return on and self.key.x11_forwarding

    def _switched_on(self, target: Target, wanted: tuple[str, ...]) -> bool:
        if self.options.disable_forwarding or not self.key.port_forwarding:
            return False
        if target.path:
            return self.options.allow_stream_local_forwarding in wanted
        return self.options.allow_tcp_forwarding in wanted
