"""Which address of a host is tried when (RFC 8305), sans-IO.

The addresses come in the order in which they are to be tried, the best first (addresses.py). Each is given a head start
before the next is tried beside it; one that fails gives the next its turn at once. An address that stays silent is tried
again from another socket: a handshake that has lost packets waits longer and longer before it resends them, a fresh one
does not.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.client.addresses import Address

__all__ = ["Race", "head_start_s"]

_MARGIN_S: Final = 0.1
_ROUND_TRIPS: Final = 1.5
_HEAD_START_MAX_S: Final = 2.0
"""Some more than a round trip, and some time for the server. With the round trip that is assumed of an unknown host this is
RFC 8305's 250 ms; the maximum is RFC 8305's as well."""
_REPEAT_MIN_S: Final = 0.5
_REPEAT_GROWTH: Final = 1.5
"""From a start to the next repetition: at least so long, or twice a head start; each time longer by this factor."""
_REPEATS: Final = 3
"""In one race: a server that is merely slow has that many handshakes more to do."""


def head_start_s(rtt_ms: float) -> float:
    """How long an address may be silent before the next one is tried beside it."""
    return min(_MARGIN_S + _ROUND_TRIPS * rtt_ms / 1000, _HEAD_START_MAX_S)


class Race:
    """The attempts at one host. The first that succeeds ends it."""

    def __init__(self, addresses: Sequence[Address], rtt_ms: float) -> None:
        """``rtt_ms``: what a round trip to this host is expected to take."""
        self._waiting = deque(addresses)
        self._under_way: dict[Address, int] = {}
        """Attempts at each address, the longest unanswered first."""
        self._hopeless: set[Address] = set()
        self._head_start_s = head_start_s(rtt_ms)
        self._pause_s = max(_REPEAT_MIN_S, 2 * self._head_start_s)
        self._repeats = _REPEATS
        self._next_at = 0.0

    def due(self, now: float) -> Address | None:
        """The address to be tried now, if one is; it counts as under way until :meth:`failed`."""
        if self._waiting:
            if self._hopes() and now < self._next_at:
                return None
            address = self._waiting.popleft()
        elif self._repeats and self._hopes() and now >= self._next_at:
            address = self._hopes()[0]
            self._repeats -= 1
        else:
            return None
        self._under_way[address] = self._under_way.pop(address, 0) + 1
        self._next_at = now + self._wait_s()
        return address

    def more(self, addresses: Sequence[Address]) -> None:
        """Better ones have been found: the first of them is due at once."""
        if addresses:
            self._waiting.extendleft(reversed(addresses))
            self._next_at = 0.0

    def failed(self, address: Address) -> None:
        """An attempt has failed."""
        left = self._under_way.pop(address) - 1
        if left:
            self._under_way[address] = left
        self._next_turn()

    def refused(self, address: Address) -> None:
        """The port is said to be closed there. Anybody may say that, so the attempt goes on; but the others need not wait."""
        if address not in self._hopeless:
            self._hopeless.add(address)
            if address in self._under_way:
                self._next_turn()

    @property
    def deadline(self) -> float | None:
        """When :meth:`due` is to be asked again, if nothing happens before."""
        more = self._waiting or (self._repeats and self._hopes())
        return self._next_at if more else None

    @property
    def over(self) -> bool:
        """Nothing is under way and nothing is left to be tried."""
        return not self._waiting and not self._under_way

    def _next_turn(self) -> None:
        if self._waiting:
            self._next_at = 0.0

    def _hopes(self) -> list[Address]:
        return [address for address in self._under_way if address not in self._hopeless]

    def _wait_s(self) -> float:
        if self._waiting:
            return self._head_start_s
        wait_s = self._pause_s
        self._pause_s *= _REPEAT_GROWTH
        return wait_s
