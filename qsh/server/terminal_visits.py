"""A login's channels that are attached to terminals, in this session host or in another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsh.server.requests import CallEnded, HangUp, Resize, SendSignal

if TYPE_CHECKING:
    from qsh.server.session_relay import SessionRelay
    from qsh.server.terminal_clients import Visitor
    from qsh.server.terminal_session import TerminalSession

__all__ = ["TerminalVisits"]


@dataclass(slots=True, frozen=True)
class _Here:
    terminal: TerminalSession
    visitor: Visitor


class TerminalVisits:
    """By channel."""

    def __init__(self) -> None:
        self._visits: dict[int, _Here | SessionRelay] = {}
        self._path: tuple[float, int] | None = None

    def __contains__(self, channel: int) -> bool:
        return channel in self._visits

    @property
    def channels(self) -> set[int]:
        """That are attached."""
        return set(self._visits)

    def here(self, channel: int, terminal: TerminalSession, visitor: Visitor) -> None:
        """A channel is attached to a terminal of this host."""
        self._enter(channel, _Here(terminal, visitor))

    def elsewhere(self, channel: int, relay: SessionRelay) -> None:
        """Or asks another host to be."""
        self._enter(channel, relay)

    def _enter(self, channel: int, visit: _Here | SessionRelay) -> None:
        self._visits[channel] = visit
        self._tell_path(visit)

    def forget(self, channel: int) -> None:
        """It has ended."""
        self._visits.pop(channel, None)

    def take(self, request: Resize | SendSignal | HangUp | CallEnded) -> None:
        """What the front asks of one."""
        visit = self._visits[request.channel]
        if isinstance(visit, _Here):
            _take_here(visit, request)
        elif isinstance(request, CallEnded):
            visit.call_ended(request.kind)
        elif isinstance(request, HangUp):
            visit.hang_up()

    def path(self, rtt_s: float, loss_ppm: int) -> None:
        """How the connection does."""
        self._path = rtt_s, loss_ppm
        for visit in self._visits.values():
            self._tell_path(visit)

    def _tell_path(self, visit: _Here | SessionRelay) -> None:
        if self._path is None:
            return
        if isinstance(visit, _Here):
            visit.terminal.path_of(visit.visitor, *self._path)
        else:
            visit.path(*self._path)

    @property
    def deadlines(self) -> list[float]:
        """When to :meth:`expire`."""
        relays = (visit for visit in self._visits.values() if not isinstance(visit, _Here))
        return [relay.deadline for relay in relays if relay.deadline is not None]

    def expire(self, now: float) -> None:
        """A deadline may have come."""
        for visit in list(self._visits.values()):
            if not isinstance(visit, _Here):
                visit.expire(now)

    def close(self) -> None:
        """The front is gone: terminals stay, and see the end of their streams."""
        for visit in list(self._visits.values()):
            if not isinstance(visit, _Here):
                visit.close()
        self._visits.clear()


def _take_here(visit: _Here, request: Resize | SendSignal | HangUp | CallEnded) -> None:
    if isinstance(request, CallEnded):
        if visit.visitor.callee is not None:
            visit.visitor.callee.ended(request.kind)
    elif isinstance(request, HangUp):
        visit.terminal.hang_up_of(visit.visitor)
    elif isinstance(request, SendSignal):
        visit.terminal.signal(request.name)
