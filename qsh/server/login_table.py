"""The monitor's table of what may be asked on a session id, and when (model: OpenSSH's monitor.c), sans-IO.

    (nothing) ──sign──► SIGNED ──login──► JUDGING ──refused, continue──► SIGNED
                                             └──accepted──► ADMITTED (once, never again) ──prove──► ADMITTED (once)
                                                               └──moved──► ADMITTED
    any ──forget, time-out──► (nothing), but an id that was ADMITTED is remembered and never signed again

A session id exists only because the signer has signed it and said so, so a front that was broken into can neither replay a user's
signature nor let one signature open two sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from qsh.errors import RemoteProtocolError

__all__ = ["LoginTable", "Phase"]

MAX_ENTRIES: Final = 16384
"""Session ids remembered at a time; admission keeps the front far below."""
DROPPED: Final = 16
"""One in so many goes when there is no room: looking for them takes a while."""
LIMIT_S: Final = 600.0
"""Stands in for a LoginGraceTime of 0: what was signed and never used must end some time."""
MAX_JUDGED: Final = 1024
"""On one session id (OpenSSH: the same): each costs a process, and some are no failures, as questions that nobody answers."""
MAX_USED: Final = 65536
"""Session ids of ended logins that are remembered: a front would need that many logins of others to use one again."""


class Phase(Enum):
    """Where a session id stands."""

    SIGNED = auto()
    JUDGING = auto()
    ADMITTED = auto()


@dataclass(slots=True)
class Entry:
    """One session id."""

    phase: Phase
    host_key: int
    deadline_s: float
    attempts: int = 0
    judged: int = 0
    """Attempts of every kind, also those that are no failures."""
    spent: bool = False
    """The front was told that there is no further attempt: other limits that come meanwhile change nothing."""
    limit: int | None = None
    """The least that MaxAuthTries was for the users that were tried; None: what holds for everybody."""
    proved: bool = False
    user: str = ""
    steps: tuple[Any, ...] = ()
    """What that user has done of what AuthenticationMethods wants."""


class LoginTable:
    """Phases of all session ids. Every refusal is a RemoteProtocolError that names the request."""

    def __init__(self, grace_s: float, max_attempts: int) -> None:
        self._grace_s, self._max_attempts = grace_s or LIMIT_S, max_attempts
        self._entries: dict[bytes, Entry] = {}
        self._used: dict[bytes, None] = {}
        self._dropped_until = 0.0

    def renew(self, grace_s: float, max_attempts: int) -> None:
        """Other limits from now on."""
        self._grace_s, self._max_attempts = grace_s or LIMIT_S, max_attempts

    def __len__(self) -> int:
        return len(self._entries)

    def sign(self, session_id: bytes, host_key: int, now: float) -> None:
        """A handshake was signed with host key number ``host_key``.

        If there are too many without a login the oldest are dropped: who opens them all keeps nobody else out.
        """
        if session_id in self._entries or session_id in self._used:
            raise RemoteProtocolError("not-permitted", "sign: the same handshake twice")
        if len(self._entries) >= MAX_ENTRIES:
            self._dropped_until = now + self._grace_s
            self.expire(now)
        if len(self._entries) >= MAX_ENTRIES:
            waiting = [s for s, e in self._entries.items() if e.phase is Phase.SIGNED]
            for dropped in waiting[: max(1, MAX_ENTRIES // DROPPED)]:
                del self._entries[dropped]
        self._entries[session_id] = Entry(Phase.SIGNED, host_key, now + self._grace_s)

    def login(self, session_id: bytes, now: float) -> int:
        """A login may be judged; returns the number of the host key that signed."""
        entry = self._entries.get(session_id)
        if entry is None and session_id not in self._used and now < self._dropped_until:
            raise RemoteProtocolError("too-late", "login: after too many others")
        if entry is None or entry.phase is not Phase.SIGNED:
            raise RemoteProtocolError(
                "not-permitted", f"login: session id is {entry.phase.name if entry else 'unknown'}"
            )
        if now > entry.deadline_s:
            raise RemoteProtocolError("too-late", "login: after LoginGraceTime")
        if entry.spent:
            raise RemoteProtocolError("not-permitted", "login: after MaxAuthTries")
        entry.phase = Phase.JUDGING
        return entry.host_key

    def judged(
        self, session_id: bytes, *, accepted: bool, counts: bool, limit: int | None = None
    ) -> bool:
        """The judgement is in; ``counts``: it was a failure; ``limit``: MaxAuthTries as it holds for this user.

        Returns whether this was the last attempt permitted.
        """
        entry = self._entries.get(session_id)
        if entry is None or entry.phase is not Phase.JUDGING:
            return True
        entry.phase = Phase.ADMITTED if accepted else Phase.SIGNED
        entry.attempts += counts
        entry.judged += 1
        if limit is not None:
            entry.limit = limit if entry.limit is None else min(entry.limit, limit)
        limit = self._max_attempts if entry.limit is None else entry.limit
        entry.spent = entry.attempts >= limit or entry.judged >= MAX_JUDGED
        return entry.spent

    def steps(self, session_id: bytes, user: str) -> tuple[Any, ...]:
        """What was done on this session id before; another user begins anew."""
        entry = self._entries[session_id]
        if entry.user != user:
            entry.user, entry.steps = user, ()
        return entry.steps

    def add_step(self, session_id: bytes, step: object) -> None:
        """One more is done, of the user of :meth:`steps`."""
        entry = self._entries.get(session_id)
        if entry is not None:
            entry.steps = (*entry.steps, step)

    def prove(self, session_id: bytes) -> int:
        """The other host keys may sign for this login; returns the number of the key that signed its handshake."""
        entry = self._entries.get(session_id)
        if entry is None or entry.phase is not Phase.ADMITTED or entry.proved:
            state = "unknown" if entry is None else "proved" if entry.proved else entry.phase.name
            raise RemoteProtocolError("not-permitted", f"prove: session id is {state}")
        entry.proved = True
        return entry.host_key

    def moved(self, session_id: bytes) -> int:
        """The client is at another address; returns the number of the key that signed its handshake."""
        entry = self._entries.get(session_id)
        if entry is None or entry.phase is not Phase.ADMITTED:
            state = "unknown" if entry is None else entry.phase.name
            raise RemoteProtocolError("not-permitted", f"moved: session id is {state}")
        return entry.host_key

    def forget(self, session_id: bytes) -> None:
        """The connection is gone."""
        entry = self._entries.pop(session_id, None)
        if entry is not None and entry.phase is Phase.ADMITTED:
            self._used[session_id] = None
            if len(self._used) > MAX_USED:
                del self._used[next(iter(self._used))]

    def forget_all(self) -> None:
        """The front is gone, and all its connections."""
        for session_id in list(self._entries):
            self.forget(session_id)

    def expire(self, now: float) -> None:
        """Drop what is over its time and was not admitted."""
        for session_id in [
            s
            for s, e in self._entries.items()
            if e.phase is not Phase.ADMITTED and now > e.deadline_s
        ]:
            del self._entries[session_id]
