"""A connection moves to a better uplink while the one that it has still works, or carries nothing though its link is up.

Nothing is sent for this until the path gives reason (path_doubt.py). Then all ways to the host are probed (path_choice.py,
way_probe.py), and if another one is clearly better the connection goes on by it: from another interface it migrates, another
address of the host's takes a second connection, to which the terminal moves when that has logged in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.client.log import log
from qsh.client.path_choice import Look, Way
from qsh.client.path_doubt import SILENCE, Figures, PathDoubt
from qsh.client.way_probe import WayProbe
from qsh.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.addresses import Target
    from qsh.client.path_choice import Moves
    from qsh.quic import Connection

__all__ = ["Uplinks", "WaysFrom"]

HOME: Final = "home"
LEAST_S: Final = 0.001


class WaysFrom(NamedTuple):
    """What the connection can do."""

    ways: Callable[[bool], list[Way]]
    """The one in use first, others behind it; argument: whether that is silent."""
    home: Callable[[], Way | None]
    """The one that the system prefers, if that is another."""
    go: Callable[[Way], bool]
    """Go on by this one; False: it cannot be."""


class Uplinks:
    """Of one connection, until :meth:`close`."""

    def __init__(
        self,
        connection: Connection,
        target: Target,
        moves: Moves,
        here: WaysFrom,
        *,
        only_silence: bool,
    ) -> None:
        """``only_silence``: delay and loss are no reasons."""
        self._connection, self._target, self._moves, self._here = connection, target, moves, here
        self._only_silence = only_silence
        self._loop = asyncio.get_running_loop()
        self._doubt = PathDoubt(self._loop.time())
        self._look: Look | None = None
        self._reason = ""
        self._probes: dict[Way, WayProbe] = {}
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Idempotent."""
        self._end_look()
        self._stop_timer()

    # -- what happened

    def asked(self) -> None:
        """Something that wants an answer has left."""
        if not self._doubt.waits:
            self._doubt.asked(self._loop.time(), self._connection.stats()["received_packets"])
            self._schedule()

    def look(self, *, silent: bool) -> None:
        """Now and then while the connection is used. ``silent``: an answer is waited for."""
        now, stats = self._loop.time(), self._connection.stats()
        figures = Figures(
            stats["rtt_us"] / 1e6,
            stats["sent_packets"],
            stats["lost_packets"],
            stats["received_packets"],
        )
        self._doubt.figures(now, figures)
        if silent:
            self._doubt.asked(now, figures.received)
        self._consider(now)
        self._schedule()

    def moved(self) -> None:
        """By somebody else's decision: the network has changed."""
        self._end_look()
        self._doubt.moved(self._loop.time(), self._doubt.rtt_s)

    # -- to look

    def _consider(self, now: float) -> None:
        if self._look is not None:
            return
        reason, silent = self._doubt.reason(now), False
        if reason == SILENCE:
            silent = True
        elif self._only_silence:
            reason = ""
        if reason and self._moves.may_look(now, silent=silent):
            self._begin(reason, self._here.ways(silent), None)
        elif not reason and self._moves.may_look_home(now):
            home = self._here.home()
            if home is not None:
                self._begin(HOME, [self._here.ways(False)[0], home], home)

    def _begin(self, reason: str, ways: list[Way], home: Way | None) -> None:
        now = self._loop.time()
        for way in ways:
            try:
                self._probes[way] = WayProbe(self._target, way, self._answered)
            except (ConnectError, OSError) as error:
                log.debug(f"no way by {_text(way)}: {error}", 2)
        if not any(way in self._probes for way in ways[1:]):
            self._close_probes()
            self._moves.looked_in_vain(now, silent=reason == SILENCE, home=home is not None)
            return
        log.debug(f"{reason}: looking at {', '.join(map(_text, ways))}", 2)
        self._reason = reason
        self._look = Look(now, ways, home)

    def _answered(self, way: Way, number: int) -> None:
        if self._look is not None:
            self._look.answered(way, number, self._loop.time())
            self._tick()

    def _tick(self) -> None:
        self._stop_timer()
        now = self._loop.time()
        self._doubt.heard(self._connection.stats()["received_packets"])
        self._consider(now)
        look = self._look
        if look is not None:
            for way, number in look.due(now):
                if way in self._probes:
                    self._probes[way].send(number)
            self._judge(look, now)
        self._schedule()

    def _judge(self, look: Look, now: float) -> None:
        way = look.verdict(now, self._moves, self._doubt.silent_s(now), self._doubt.rtt_s)
        if way is not None:
            log.debug(f"{self._reason}: going on by {_text(way)}")
            rtt_s = look.rtt_s(way)
            self._end_look()
            self._moves.moved(now)
            if self._here.go(way):
                self._doubt.moved(now, rtt_s)
        elif look.is_over(now):
            self._end_look()
            silent = self._reason == SILENCE
            self._moves.looked_in_vain(now, silent=silent, home=self._reason == HOME)

    def _end_look(self) -> None:
        self._look = None
        self._close_probes()

    def _close_probes(self) -> None:
        for each in self._probes.values():
            each.close()
        self._probes.clear()

    # -- the clock

    def _schedule(self) -> None:
        due = self._doubt.silence_due_s if self._look is None else self._look.deadline()
        if due is None:
            return
        now = self._loop.time()
        if self._look is None and due <= now:  # known, and may not be looked into just now
            return
        self._stop_timer()
        self._timer = self._loop.call_later(max(LEAST_S, due - now), self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _text(way: Way) -> str:
    return way.address.host + (f" by {way.interface}" if way.interface else "")
