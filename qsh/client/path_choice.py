"""Which of several ways to a host is the best, by a few probes on each at the same time. No I/O.

A :class:`Look` is one comparison. The way in use is probed like the others, so that like is compared with like: what the
connection itself measures has its own traffic in it. :class:`Moves` outlives looks and connections. It knows when a look, and
when a move, may be: each move makes the next one wait longer, so a way that is good and bad by turns causes few of them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.client.addresses import Address

__all__ = ["Look", "Moves", "Way"]

PROBES: Final = 12
EVERY_S: Final = 0.08
"""On each way: 120 kbit/s for a second."""
GIVE_UP_S: Final = 0.8
"""No answer after this is none, on a way that has not answered yet,"""
GIVE_UP_RTTS: Final = 2.0
GIVE_UP_MARGIN_S: Final = 0.1
"""or after so many of its round trips, and this."""
MAX_RTT_S: Final = 3.0
"""What is later is of no use."""

SILENT_S: Final = 0.8
SILENT_RTTS: Final = 4.0
"""Nothing heard for so long, whichever is longer: the way in use carries nothing. Radio often stands still for half a second."""
FEW: Final = 2
"""Probes that say whether a way works at all: those unanswered on one, those answered on another."""
RETRY_S: Final = 0.1
LOSS_WEIGHT: Final = 2.0
"""What a lost packet costs at the least, and its weight: it delays what comes behind it, too."""
BETTER: Final = 0.7
BETTER_S: Final = 0.03
"""Another way is better by both: less than this share of the cost, and by so much."""
LOST_MORE: Final = 3
"""Probes. Fewer may be chance."""
AS_GOOD: Final = 1.25
AS_GOOD_S: Final = 0.02
AS_GOOD_LOST: Final = 1
"""The way that the system prefers is taken again if it costs at most so much, and has lost no more."""

QUALITY_HOLD_S: Final = (10.0, 600.0)
SILENCE_HOLD_S: Final = (1.0, 30.0)
"""From a move to the next: at first, twice that with each move in living memory, and at most."""
QUALITY_MEMORY_S: Final = 3600.0
SILENCE_MEMORY_S: Final = 300.0
QUALITY_PAUSE_S: Final = (5.0, 300.0)
SILENCE_PAUSE_S: Final = (2.0, 30.0)
"""After a look that led to nothing, likewise."""
FORGET_S: Final = 600.0
"""Looks in vain so long ago do not count."""
HOME_S: Final = 60.0
"""From a move away from the way that the system prefers to a look back, and between such looks, likewise growing."""


class Way(NamedTuple):
    """To an address of the host."""

    address: Address
    interface: str | None = None
    """None: the system's choice."""


class Measured:
    """Probes on one way."""

    def __init__(self) -> None:
        self._sent: list[float] = []
        self._rtts: dict[int, float] = {}

    def sent(self, now: float) -> int:
        """One leaves; its number."""
        self._sent.append(now)
        return len(self._sent) - 1

    def answered(self, number: int, now: float) -> None:
        """The first answer counts."""
        if 0 <= number < len(self._sent) and number not in self._rtts:
            rtt_s = now - self._sent[number]
            if rtt_s <= MAX_RTT_S:
                self._rtts[number] = rtt_s

    @property
    def answers(self) -> int:
        """How many there were."""
        return len(self._rtts)

    @property
    def rtt_s(self) -> float:
        """The median; infinite without an answer."""
        ranked = sorted(self._rtts.values())
        return ranked[len(ranked) // 2] if ranked else float("inf")

    def lost(self, now: float) -> int:
        """How many have had time enough."""
        return sum(
            1
            for number, sent_s in enumerate(self._sent)
            if number not in self._rtts and now >= sent_s + self._patience_s
        )

    def over_s(self) -> float:
        """When all that were sent are answered or lost."""
        open_s = [at for number, at in enumerate(self._sent) if number not in self._rtts]
        return max(open_s) + self._patience_s if open_s else 0.0

    @property
    def _patience_s(self) -> float:
        if not self._rtts:
            return GIVE_UP_S
        return min(MAX_RTT_S, GIVE_UP_RTTS * max(self._rtts.values()) + GIVE_UP_MARGIN_S)

    def cost_s(self, now: float) -> float:
        """About what a key waits for its answer."""
        if not self._rtts:
            return float("inf")
        rtt_s, lost = self.rtt_s, self.lost(now)
        return rtt_s + LOSS_WEIGHT * lost / self.answers * max(rtt_s, RETRY_S)


class Look:
    """From its begin to a :meth:`verdict`, or until it :meth:`is_over`."""

    def __init__(self, now: float, ways: Sequence[Way], home: Way | None = None) -> None:
        """``ways``: the one in use first. ``home``: the one that the system prefers, if that is asked after."""
        self._now, self._home = now, home
        self._measured = {way: Measured() for way in ways}
        self._present = ways[0]
        self._rounds = 0

    def due(self, now: float) -> list[tuple[Way, int]]:
        """Probes that leave now, with their numbers."""
        if now < self._next_s or self._rounds == PROBES:
            return []
        self._rounds += 1
        return [(way, measured.sent(now)) for way, measured in self._measured.items()]

    def answered(self, way: Way, number: int, now: float) -> None:
        """A probe's answer has come."""
        self._measured[way].answered(number, now)

    @property
    def _next_s(self) -> float:
        return self._now + self._rounds * EVERY_S

    def deadline(self) -> float:
        """When to look again, if nothing comes before."""
        if self._rounds < PROBES:
            return self._next_s
        return max(measured.over_s() for measured in self._measured.values())

    def is_over(self, now: float) -> bool:
        """Nothing more is to come."""
        return self._rounds == PROBES and now >= self.deadline()

    def rtt_s(self, way: Way) -> float:
        """As measured."""
        return self._measured[way].rtt_s

    def verdict(self, now: float, moves: Moves, silent_s: float, rtt_s: float) -> Way | None:
        """The way to go on by, if it is another. ``silent_s``: since when the connection has heard nothing that it waits for;
        ``rtt_s``: what a round trip took it before.
        """
        if silent_s >= max(SILENT_S, SILENT_RTTS * rtt_s):
            return self._instead_of_silence(now) if moves.may_move(now, silent=True) else None
        if not self.is_over(now) or not moves.may_move(now, silent=False):
            return None
        if self._home is not None:
            return self._home if self._is_as_good(self._home, now) else None
        return self._better(now)

    def _instead_of_silence(self, now: float) -> Way | None:
        present = self._measured[self._present]
        if present.answers or self._rounds <= FEW:
            return None
        working = [way for way, each in self._measured.items() if each.answers >= FEW]
        return min(working, key=lambda way: self._measured[way].cost_s(now), default=None)

    def _better(self, now: float) -> Way | None:
        present = self._measured[self._present]
        best = min(self._measured, key=lambda way: self._measured[way].cost_s(now))
        found = self._measured[best]
        if not _is_less(found.cost_s(now), present.cost_s(now)):
            return None
        by_delay = _is_less(found.rtt_s, present.rtt_s)
        if not by_delay and present.lost(now) - found.lost(now) < LOST_MORE:
            return None
        return best

    def _is_as_good(self, way: Way, now: float) -> bool:
        present, other = self._measured[self._present], self._measured[way]
        return (
            other.answers > 0
            and other.lost(now) <= AS_GOOD_LOST
            and other.cost_s(now) <= AS_GOOD * present.cost_s(now) + AS_GOOD_S
        )


def _is_less(one_s: float, other_s: float) -> bool:
    return one_s < float("inf") and one_s <= min(BETTER * other_s, other_s - BETTER_S)


class Moves:
    """What a client remembers of its looks and moves, over all its connections."""

    def __init__(self) -> None:
        self._moves: deque[float] = deque(maxlen=32)
        self._vain = {True: 0, False: 0}
        self._looked = {True: float("-inf"), False: float("-inf")}
        """When the last look was over that led to nothing: for silence, and for other reasons."""
        self._away_s = 0.0
        self._home_looks = 0
        self.refused: set[str] = set()
        """Interfaces from which the server does not take the login."""

    def may_move(self, now: float, *, silent: bool) -> bool:
        """Not too soon after the last move."""
        if not self._moves:
            return True
        hold, memory_s = (
            (SILENCE_HOLD_S, SILENCE_MEMORY_S) if silent else (QUALITY_HOLD_S, QUALITY_MEMORY_S)
        )
        recent = sum(1 for at in self._moves if now - at < memory_s)
        return now - self._moves[-1] >= _grown(hold, max(0, recent - 1))

    def may_look(self, now: float, *, silent: bool) -> bool:
        """A look could lead to a move, and the last one in vain was not just now."""
        if not silent and not self.may_move(now, silent=False):
            return False
        pause = SILENCE_PAUSE_S if silent else QUALITY_PAUSE_S
        vain = self._vain[silent]
        return not vain or now - self._looked[silent] >= _grown(pause, vain - 1)

    def may_look_home(self, now: float) -> bool:
        """Whether the way that the system prefers may be looked at again."""
        since_s = now - max(self._away_s, self._looked[False])
        pause_s = _grown((HOME_S, QUALITY_PAUSE_S[1]), self._home_looks)
        return since_s >= pause_s and self.may_move(now, silent=False)

    def looked_in_vain(self, now: float, *, silent: bool, home: bool = False) -> None:
        """A look is over, and all is as before."""
        if now - self._looked[silent] > FORGET_S:
            self._vain[silent] = 0
        self._looked[silent] = now
        if home:
            self._home_looks += 1
        else:
            self._vain[silent] += 1

    def moved(self, now: float) -> None:
        """By a verdict, or an attempt at it was begun."""
        self._moves.append(now)
        self._vain = {True: 0, False: 0}
        self._away_s, self._home_looks = now, 0


def _grown(limits: tuple[float, float], times: int) -> float:
    first_s, most_s = limits
    return min(most_s, first_s * 2.0 ** min(times, 20))
