"""PerSourcePenalties: who misbehaved is refused for a while (model: OpenSSH's srclimit.c). Sans-IO.

Each cause adds its seconds to what its source has to wait; more than ``min`` of them, and the source is refused until they are
over, ``max`` at most. Only for what came from an address that was proven: a packet names any source that it likes, and nobody
may have a stranger penalised.

In the front, so that a refused packet costs the monitor nothing; the next front gets them from there (kept_penalties.py).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.config.address import match_networks
from qsh.config.daemon_penalties import CAUSES, DENY_ALL, PenaltyRules

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REASONS", "Penalties", "Penalty", "cause_of"]

REASONS: Final = {
    "crash": "caused a crash",
    "authfail": "failed authentication",
    "noauth": "did not try to authenticate",
    "invaliduser": "tried an invalid user",
    "grace-exceeded": "exceeded LoginGraceTime",
    "refuseconnection": "refused by RefuseConnection",
}
"""Of causes, for the log."""


def cause_of(reason: str) -> str:
    """What a login that was refused counts as, by the login child's reason."""
    if reason.startswith(("invalid user", "unknown user")):
        return "invaliduser"
    return "refuseconnection" if reason.endswith("of RefuseConnection") else "authfail"


class Penalty(NamedTuple):
    """What one more cause came to."""

    source: str
    seconds: float
    """How long the source's time is from now on."""
    is_new: bool
    """It is refused only since now."""
    is_full: bool = False
    """Nothing was noted: the table is full, and everybody is refused."""
    is_active: bool = False
    """It is refused, since now or before."""


@dataclass(slots=True)
class _Entry:
    until: float
    active: bool


class _Table:
    """One address family's."""

    def __init__(self) -> None:
        self.entries: dict[str, _Entry] = {}
        self._order: list[tuple[float, str]] = []
        """A heap of times and sources; what says another time than the entry is out of date."""

    def set(self, source: str, until: float, *, active: bool) -> None:
        self.entries[source] = _Entry(until, active)
        heapq.heappush(self._order, (until, source))
        if len(self._order) > 2 * len(self.entries) + 16:
            self._order = [(entry.until, name) for name, entry in self.entries.items()]
            heapq.heapify(self._order)

    def expire(self, now: float, most: int) -> None:
        """Drop what is over, and what is over soonest while there are more than ``most``."""
        while self._order and (self._order[0][0] <= now or len(self.entries) > most):
            until, source = heapq.heappop(self._order)
            entry = self.entries.get(source)
            if entry is not None and entry.until == until:
                del self.entries[source]


class Penalties:
    """Times are monotonic seconds; ``block`` names the source that an address belongs to."""

    def __init__(
        self, rules: PenaltyRules, exempt: str = "none", block: Callable[[str], str] = str
    ) -> None:
        self.rules, self.exempt, self.block = rules, exempt, block
        self.counts = dict.fromkeys(CAUSES, 0)
        """Penalties so far, by cause."""
        self._tables = {True: _Table(), False: _Table()}

    def __len__(self) -> int:
        return sum(len(table.entries) for table in self._tables.values())

    def penalise(self, now: float, address: str, cause: str) -> Penalty | None:
        """``cause`` is one of CAUSES. None: it costs nothing."""
        seconds = self.rules.seconds(cause)
        if not self.rules.enabled or seconds <= 0 or self._is_exempt(address):
            return None
        self.counts[cause] += 1
        source = self.block(address)
        table, most, denies = self._of(source)
        table.expire(now, most)
        if denies and len(table.entries) >= most:
            return Penalty(source, 0.0, is_new=False, is_full=True)
        before = table.entries.get(source)
        until = (now if before is None else before.until) + seconds
        # sshd holds only what adds up to ``max``; one cause may cost more
        if before is not None:
            until = min(until, now + self.rules.max)
        was_active = before is not None and before.active
        active = was_active or until - now > self.rules.min
        table.set(source, until, active=active)
        table.expire(now, most)
        return Penalty(source, until - now, active and not was_active, is_active=active)

    def restore(self, now: float, source: str, until: float, *, active: bool) -> None:
        """What the front before has noted, which may have been broken into: for no longer than the rules let it be."""
        table, most, _ = self._of(source)
        until = min(until, now + self.rules.longest)
        if self.rules.enabled and until > now and len(table.entries) < most:
            table.set(source, until, active=active)

    def refused_until(self, now: float, address: str) -> float | None:
        """When this address may come again; None: now. While a table is full that denies all, nobody can say: it is ``now``."""
        if not self.rules.enabled:
            return None
        source = self.block(address)
        table, most, denies = self._of(source)
        table.expire(now, most)
        until = now if denies and len(table.entries) >= most else None
        if (entry := table.entries.get(source)) is not None and entry.active:
            until = entry.until
        return None if until is None or self._is_exempt(address) else until

    def _of(self, source: str) -> tuple[_Table, int, bool]:
        """The table, how many it holds, and whether it refuses everybody when it does."""
        rules = self.rules
        is_v6 = ":" in source
        most = rules.max_sources6 if is_v6 else rules.max_sources4
        mode = rules.overflow6 if is_v6 else rules.overflow
        return self._tables[is_v6], most, mode == DENY_ALL

    def _is_exempt(self, address: str) -> bool:
        return self.exempt != "none" and match_networks(address, self.exempt) == 1
