"""Logins that wait until others have been judged: first come, first served, and only so many at once.

A burst (all clients of a front that was killed) is judged no sooner by as many processes at once: each would answer when all do,
and after that time clients have given up and begun again. What takes long waits for something else than a processor (a name
service, a command that is asked about keys) and holds up nobody: it counts no more, and others come before its like.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from qsh.server.login_children import LoginChildren, Session
    from qsh.server.requests import Login

__all__ = ["Turns", "Waiting"]

AT_ONCE: Final = max(8, 2 * len(os.sched_getaffinity(0)))
LONG_S: Final = 1.0
MAX_WAITING: Final = 1024


class Waiting(NamedTuple):
    """``deadline_s``: by when it must have been judged."""

    login: Login
    host_key: bytes
    deadline_s: float


class Turns:
    """``children``: those that are judged now."""

    def __init__(self, children: LoginChildren) -> None:
        self._children = children
        self._waiting: list[Waiting] = []

    @property
    def are_many(self) -> bool:
        """Too many for another."""
        return len(self._waiting) >= MAX_WAITING

    def add(self, waiting: Waiting) -> None:
        """To the end."""
        self._waiting.append(waiting)

    def leave(self, session_id: bytes) -> Login | None:
        """The login of a client that went away, if it waits."""
        for waiting in self._waiting:
            if waiting.login.session_id == session_id:
                self._waiting.remove(waiting)
                return waiting.login
        return None

    def leave_all(self) -> None:
        """Nobody waits any more."""
        self._waiting.clear()

    def next(self, now: float) -> Waiting | None:
        """Whose turn it is now. A login with a method is a dialogue, which waits for fingers: it is always its turn."""
        if self._children.are_many:
            return None
        found = next((each for each in self._waiting if each.login.method), None)
        if found is None and self._waiting and len(self._counted(now)) < AT_ONCE:
            long = [each.login for each in self._judged if now >= each.began_s + LONG_S]
            users, hosts = {each.user for each in long}, {each.client[0] for each in long}
            others = (
                each
                for each in self._waiting
                if each.login.user not in users and each.login.client[0] not in hosts
            )
            found = next(others, self._waiting[0])
        if found is not None:
            self._waiting.remove(found)
        return found

    def expired(self, now: float) -> list[Login]:
        """Those whose time is over, which wait no more."""
        over = [each for each in self._waiting if now >= each.deadline_s]
        self._waiting = [each for each in self._waiting if now < each.deadline_s]
        return [each.login for each in over]

    def deadlines_s(self, now: float) -> list[float]:
        """When there is something to do though nobody is judged until then."""
        if not self._waiting:
            return []
        times = [each.deadline_s for each in self._waiting]
        return [*times, *(each.began_s + LONG_S for each in self._counted(now))]

    def _counted(self, now: float) -> list[Session]:
        return [each for each in self._judged if now < each.began_s + LONG_S]

    @property
    def _judged(self) -> list[Session]:
        return [each for each in self._children.judging if not each.login.method]
