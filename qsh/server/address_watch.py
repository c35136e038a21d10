"""Where the clients of a front are: who has moved is reported, once the new address is proven. Sans-IO, and the one timer for it.

The engine moves a connection with the first packet from another address, proves that address meanwhile (RFC 9000 9.3), and
moves back when that fails: whoever forges a sender could otherwise have a connection judged by an address that its client never
had, and written into the log. So nobody looks while an address is not proven (``Connection.proven_address``), and one is
judged when the connection has been away from the last one for a while. Time that was spent away adds up, proven or not, until
the connection has been back for as long: hopping about does not help.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsh.clock import monotonic_s

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AddressWatch", "Whereabouts"]

LOOK_S: Final = 0.5
"""A look is one cheap call for each login that has not moved; the front does nothing else while all are idle."""
PROVEN_S: Final = 2.0
PROVEN_RTTS: Final = 6.0
"""The engine gives an address three probe time-outs: a second where nothing is known of its round trip, else about three."""

IpAddress = tuple[str, int]


class Whereabouts:
    """Of one client, whose login was judged at ``approved``."""

    def __init__(self, approved: IpAddress) -> None:
        self._approved = approved[0]
        self._away_s = self._home_s = 0.0
        self._is_home = False
        self._looked_s: float | None = None

    def still(self, now: float) -> bool:
        """Instead of :meth:`look`, where the client has not moved since that; False: it must be looked at all the same."""
        if not self._is_home or self._away_s:
            return False
        self._looked_s = now
        return True

    def look(self, now: float, address: IpAddress, rtt_s: Callable[[], float]) -> IpAddress | None:
        """The address that is to be judged now, if any. ``rtt_s`` is asked for where it matters.

        Ports are not: no rule is about a client's port.
        """
        passed_s = 0.0 if self._looked_s is None else now - self._looked_s
        self._looked_s = now
        self._is_home = address[0] == self._approved
        if self._is_home:
            self._home_s += passed_s
            if self._away_s and self._home_s >= max(PROVEN_S, PROVEN_RTTS * rtt_s()):
                self._away_s = 0.0
            return None
        self._home_s = 0.0
        self._away_s += passed_s
        if self._away_s < max(PROVEN_S, PROVEN_RTTS * rtt_s()):
            return None
        self._away_s = 0.0  # whoever is asked may not be able to say
        return address

    def approve(self, address: IpAddress) -> None:
        """It was judged, and may stay."""
        self._approved = address[0]
        self._away_s = self._home_s = 0.0
        self._is_home = False  # it may have gone on meanwhile


class AddressWatch:
    """Calls each watcher twice a second while there are some."""

    def __init__(self) -> None:
        self._watchers: set[Callable[[float], None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, look: Callable[[float], None]) -> None:
        """``look`` gets the time."""
        self._watchers.add(look)
        self._arm()

    def discard(self, look: Callable[[float], None]) -> None:
        """Harmless if it is not there."""
        self._watchers.discard(look)

    def _arm(self) -> None:
        if self._timer is None and self._watchers:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        now = monotonic_s()
        for look in list(self._watchers):
            look(now)
        self._arm()
