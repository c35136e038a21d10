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
"""For who has moved, or does something else that bears watching."""
TURNS: Final = 4
"""Who does nothing is looked at every so many times: a cheap call, but where there are 10,000 all that it needs has left the
processor's caches. The front does nothing else while all are idle."""
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

    def still(self) -> bool:
        """Instead of :meth:`look`, where the client has not moved since that; False: it must be looked at all the same."""
        if not self._is_home or self._away_s:
            return False
        self._looked_s = None  # however long ago it was: none of that is time away
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
    """Calls each watcher now and then while there are some: twice a second who says that there may be more to see (true), the
    others in turns.
    """

    def __init__(self) -> None:
        self._busy: dict[Callable[[float], bool], None] = {}
        self._calm: list[dict[Callable[[float], bool], None]] = [{} for _ in range(TURNS)]
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, look: Callable[[float], bool]) -> None:
        """Look at once, or as good as that. ``look`` gets the time."""
        self.discard(look)
        self._busy[look] = None
        self._arm()

    def discard(self, look: Callable[[float], bool]) -> None:
        """Harmless if it is not there."""
        for watchers in (self._busy, *self._calm):
            watchers.pop(look, None)

    def _arm(self) -> None:
        if self._timer is None and (self._busy or any(self._calm)):
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        now = monotonic_s()
        calm = self._calm[self._turn]
        for watchers in (self._busy, calm):
            for look in list(watchers):
                if look in watchers:  # else one before it has ended it
                    self._place(look, calm, busy=look(now))
        self._turn = (self._turn + 1) % TURNS
        self._arm()

    def _place(
        self,
        look: Callable[[float], bool],
        calm: dict[Callable[[float], bool], None],
        *,
        busy: bool,
    ) -> None:
        before, after = (calm, self._busy) if busy else (self._busy, calm)
        if look in before:
            del before[look]
            after[look] = None
