"""The monitor's list of login children and of the session hosts that come after them: their sockets, process ids, deadlines.

What they say is judging.py's and moves.py's; who of them has become a session host is running_hosts.py's.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import HostReport, Step

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from qsh.server.requests import Address, Login

__all__ = ["LoginChildren", "Session", "kill"]

MAX_JUDGING: Final = 256
"""Login children at a time: a front that was broken into must not fill the machine with them."""


@dataclass
class Session:
    """A login child, and after it the session host."""

    number: int
    login: Login
    link: PacketSocket[HostReport]
    deadline_s: float
    began_s: float = 0.0
    """To be judged."""
    judged: bool = False
    accepted: bool = False
    since_s: float = 0.0
    """When it was accepted, on the wall's clock."""
    client: Address = ("", 0)
    """Where the client is, as far as that was judged."""
    moved_from: Address | None = None
    """Not a login, but the question whether one may go on."""
    steps: tuple[Step, ...] = ()
    """What was done before."""
    host_key: bytes = b""
    """Of its handshake."""
    rights: bytes = b""
    orphan: bool = False
    """Its front has ended; it may go on for a client that resumes."""
    left: bool = False
    """By its client."""
    kept: bool = False
    """By a login child, which is the session host's parent."""
    pid: int = 0
    uid: int = -1
    lines: dict[str, int] = field(default_factory=dict)


class LoginChildren:
    """``read`` is called when one of them has said something."""

    def __init__(self, selector: selectors.BaseSelector, read: Callable[[Session], None]) -> None:
        self._selector, self._read = selector, read
        self.sessions: dict[int, Session] = {}
        self.abandoned: set[int] = set()
        """Numbers of login children that are to be killed as soon as their process ids are known."""
        self._numbers = 0

    @property
    def judging(self) -> list[Session]:
        """Of which no judgement is known."""
        return [session for session in self.sessions.values() if not session.judged]

    @property
    def are_many(self) -> bool:
        """Too many for another."""
        return len(self.judging) >= MAX_JUDGING

    def of(self, session_id: bytes) -> list[Session]:
        """All that a connection has."""
        return [each for each in self.sessions.values() if each.login.session_id == session_id]

    def new(self, login: Login, deadline_s: float) -> tuple[Session, socket.socket]:
        """With the child's end of its socket."""
        ours, theirs = packet_pair()
        self._numbers += 1
        session = Session(self._numbers, login, PacketSocket(ours, HostReport), deadline_s)
        self.sessions[session.number] = session
        self._watch(session)
        return session, theirs

    def replace_link(self, session: Session, ours: socket.socket) -> PacketSocket[HostReport]:
        """From now on the session host's; returns the login child's, which is no longer read."""
        child = session.link
        self._selector.unregister(child)
        session.link = PacketSocket(ours, HostReport)
        self._watch(session)
        return child

    def _watch(self, session: Session) -> None:
        self._selector.register(session.link, selectors.EVENT_READ, lambda: self._read(session))

    def spawned(self, number: int, pid: int) -> Session | None:
        """The process of a session that still is one; another is ended."""
        if number in self.abandoned:
            self.abandoned.discard(number)
            kill(pid)
            return None
        session = self.sessions.get(number)
        if session is not None and not session.judged:
            session.pid = pid
        return session

    def abandon(self, session: Session) -> None:
        """Nobody waits for this judgement any more."""
        session.judged = True
        self.end_child(session)
        self.forget(session)

    def end_child(self, session: Session) -> None:
        """Its process."""
        if session.pid:
            kill(session.pid)
        else:
            self.abandoned.add(session.number)

    def forget(self, session: Session) -> None:
        """The child's socket is of no use any more; the session may live on until it is reaped."""
        session.orphan = False  # it could not be told
        if self.sessions.pop(session.number, None) is not None:
            self._selector.unregister(session.link)
            session.link.close()


def kill(pid: int) -> None:
    """If there is such a process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
