"""In which order a target's addresses are tried, and when the next one (RFC 8305), sans-IO."""

from __future__ import annotations

from collections import deque
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Address", "Dial", "by_turns", "for_datagrams"]

PAUSE_S: Final = 0.25
"""A silent address is given so long before the next one is tried beside it."""


class _Of(Protocol):
    @property
    def family(self) -> int: ...


A = TypeVar("A", bound=_Of)


class Address(NamedTuple):
    """What a socket of this family connects to."""

    family: int
    where: Any


class Dial:
    """The attempts at one target. The first that succeeds ends it."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._waiting = deque(by_turns(addresses))
        self._under_way = 0
        self._next_at = 0.0
        self.error = 0
        """Of the last attempt that failed, an errno."""

    def due(self, now: float) -> Address | None:
        """The address to be tried now, if one is; it counts as under way until :meth:`failed`."""
        if not self._waiting or (self._under_way and now < self._next_at):
            return None
        self._under_way += 1
        self._next_at = now + PAUSE_S
        return self._waiting.popleft()

    def failed(self, error: int) -> None:
        """An attempt has failed: the next one need not wait."""
        self._under_way -= 1
        self._next_at = 0.0
        self.error = error

    @property
    def deadline(self) -> float | None:
        """When :meth:`due` is to be asked again, if nothing fails before."""
        return self._next_at if self._waiting else None

    @property
    def over(self) -> bool:
        """Nothing is under way and nothing is left to be tried."""
        return not self._waiting and not self._under_way


def for_datagrams(addresses: list[Address]) -> list[Address]:
    """Nothing tells in time that nobody takes datagrams at the first address, so no other one would be tried: of a name for this
    machine 127.0.0.1 comes first, since that is where most programs listen.
    """
    return sorted(addresses, key=lambda address: address.where[0] == "::1")


def by_turns(addresses: Sequence[A]) -> list[A]:
    """The families alternate, beginning with that of the first; one that does not work costs one pause, not many."""
    if not addresses:
        return []
    first = [address for address in addresses if address.family == addresses[0].family]
    other = [address for address in addresses if address.family != addresses[0].family]
    pairs = zip_longest(first, other)
    return [address for address in chain.from_iterable(pairs) if address is not None]
