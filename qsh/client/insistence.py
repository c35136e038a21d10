"""A login whose packets get lost: they are sent again by the client's own clock (docs/protocol.md 17.14), not the engine's, which
waits three round trips, and longer each time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsh.client.log import log

if TYPE_CHECKING:
    from qsh.quic import Connection, Endpoint

__all__ = ["Insistence"]

_ROUND_TRIPS: Final = 1.25
_MARGIN_S: Final = 0.05
"""How long nothing may come until packets are sent again: the server acknowledges within 25 ms."""
_THINKS_S: Final = 0.3
"""A server that has acknowledged everything may be at work for so long, or its answer was lost."""
_TIMES: Final = 12
"""Looks in one login. A packet is copied a few times only, so a silent host costs a few kilobytes."""


class Insistence:
    """Of one endpoint, until its login is over."""

    def __init__(self, endpoint: Endpoint, rtt_ms: float) -> None:
        self._endpoint, self._rtt_s = endpoint, rtt_ms / 1000
        self._connection: Connection | None = None
        self._heard = 0
        self._left = _TIMES
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._timer = self._wait()

    def shaken(self, connection: Connection) -> None:
        """The handshake is done: what comes can be counted, and the round trip is known."""
        stats = connection.stats()
        self._connection, self._heard = connection, stats["received_packets"]
        self._rtt_s = stats["rtt_us"] / 1e6
        self._left, self._heard_at = _TIMES, self._loop.time()
        self._timer.cancel()
        self._timer = self._wait()

    def stop(self) -> None:
        """Nothing more is sent again."""
        self._timer.cancel()
        self._endpoint.login_over()

    def _wait(self) -> asyncio.TimerHandle:
        return self._loop.call_later(_ROUND_TRIPS * self._rtt_s + _MARGIN_S, self._look)

    def _look(self) -> None:
        if not self._endpoint.in_login:
            return
        heard, waits = 0, True
        if self._connection is not None:
            stats = self._connection.stats()
            heard, waits = stats["received_packets"], bool(stats["waits"])
        now = self._loop.time()
        if heard != self._heard:
            self._heard_at = now
        elif waits or now - self._heard_at > _THINKS_S:
            log.debug("nothing comes: sending the last packets again", 3)
            self._endpoint.send_again()
        self._heard = heard
        self._left -= 1
        if self._left:
            self._timer = self._wait()
