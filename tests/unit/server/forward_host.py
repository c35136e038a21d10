"""A session host's forwards in their loop, turned by the test."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from qsh.auth.key_options import KeyOptions
from qsh.clock import monotonic_s
from qsh.config.daemon_options import DaemonOptions
from qsh.server.event_loop import EventLoop
from qsh.server.forward_rules import ForwardRules
from qsh.server.forwards import HostForwards

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LIMIT_S", "Played"]

LIMIT_S = 10.0


class Played:
    """Its loop, turned by the test; what it said to the front."""

    def __init__(self, **options: Any) -> None:
        self.loop = EventLoop()
        self.said: list[Any] = []
        self.sockets: list[socket.socket] = []
        self.log: list[str] = []
        rules = ForwardRules(DaemonOptions(**options), KeyOptions())
        self.forwards = HostForwards(self.loop, rules, self._tell, self.log.append)

    def _tell(self, message: Any, descriptors: list[int]) -> None:
        self.said.append(message)
        self.sockets += [socket.socket(fileno=descriptor) for descriptor in descriptors]

    def turn_until(self, condition: Callable[[], object]) -> None:
        end = monotonic_s() + LIMIT_S
        while not condition():
            assert monotonic_s() < end
            deadline = self.forwards.deadline
            wait_s = 0.1 if deadline is None else max(0.0, min(deadline - monotonic_s(), 0.1))
            self.loop.wait(wait_s)
            self.forwards.expire(monotonic_s())

    def close(self) -> None:
        self.forwards.close()
        for sock in self.sockets:
            sock.close()
        self.loop.close()
