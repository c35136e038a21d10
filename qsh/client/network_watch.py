"""Tells when addresses, routes or links of this machine change: rtnetlink on Linux, elsewhere a look every second."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from qsh.client import netlink

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NetworkWatch", "interfaces_everywhere"]

BURST_S: Final = 0.005
"""A change comes as several messages, one after the other."""
POLL_S: Final = 1.0
RECEIVE_BYTES: Final = 1 << 16
DUMP_S: Final = 0.2
"""The kernel answers at once."""


class NetworkWatch:
    """Calls ``changed`` until :meth:`close`: perhaps in vain, never much too late."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._socket = _open()
        if self._socket is None:
            self._wait(POLL_S)
        else:
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        assert self._socket is not None  # noqa: S101 - it is readable
        news = False
        while True:
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: more was told than there was room for
                news = True
                break
            news = news or netlink.is_news(data)
        if news and self._timer is None:
            self._wait(BURST_S)

    def _wait(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._changed()
        if self._socket is None:
            self._wait(POLL_S)

    def close(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None


def _open() -> socket.socket | None:
    """None where there is no rtnetlink, or none for us."""
    family: int | None = getattr(socket, "AF_NETLINK", None)
    if family is None:
        return None
    try:
        found = socket.socket(family, socket.SOCK_RAW, 0)
    except OSError:
        return None
    try:
        found.setblocking(False)
        found.bind((0, netlink.GROUPS))
    except OSError:
        found.close()
        return None
    return found


def interfaces_everywhere(family: int) -> list[str]:
    """Names of the interfaces with a way to everywhere, the one that is used first. Empty where nobody tells."""
    kind: int | None = getattr(socket, "AF_NETLINK", None)
    if kind is None:
        return []
    routes: list[netlink.DefaultRoute] = []
    try:
        with socket.socket(kind, socket.SOCK_RAW, 0) as sock:
            sock.settimeout(DUMP_S)
            sock.send(netlink.routes_request(family))
            over = False
            while not over:
                found, over = netlink.default_routes(sock.recv(RECEIVE_BYTES))
                routes += (route for route in found if route.family == family)
        routes.sort(key=lambda route: route.priority)
        return [socket.if_indextoname(each) for each in dict.fromkeys(r.interface for r in routes)]
    except OSError:
        return []
