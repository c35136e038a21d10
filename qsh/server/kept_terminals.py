"""The terminals of one login: their names and sockets in the session directory, their deadlines, their ends."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final

from qsh.clock import monotonic_s
from qsh.server import session_commands
from qsh.server.detached_limits import DetachedLimits
from qsh.server.session_door import SessionDoor
from qsh.server.terminal_session import TerminalSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.client_calls import ClientCalls
    from qsh.server.event_loop import EventLoop, Watched
    from qsh.server.program import Program, Terminal
    from qsh.server.record_link import Recording
    from qsh.server.session_directory import SessionDirectory
    from qsh.server.session_rules import Rights
    from qsh.server.spliced_programs import SplicedPrograms
    from qsh.wire.messages import Pty

__all__ = ["KeptTerminals"]

SPREAD: Final = (1.0, 1.01)
"""Of what all hosts of a user do when a front has ended."""


class KeptTerminals:
    """Their keeper. ``on_end`` is called when one has ended."""

    def __init__(
        self,
        loop: EventLoop,
        directory: SessionDirectory,
        options: DaemonOptions,
        programs: SplicedPrograms,
        log: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop, self._directory, self._options = loop, directory, options
        self._programs, self._log, self._on_end = programs, log, on_end
        self._limits = DetachedLimits(options.detached_max, options.detached_idle_max)
        self._terminals: dict[str, TerminalSession] = {}
        self._doors: dict[str, SessionDoor] = {}
        self._calls: dict[str, ClientCalls] = {}
        self._due: dict[TerminalSession, float] = {}
        self._count_at: float | None = None
        """When a terminal whose client was lost counts as one that waits."""

    def __len__(self) -> int:
        return len(self._terminals)

    def __contains__(self, name: str) -> bool:
        return name in self._terminals

    def get(self, name: str) -> TerminalSession | None:
        """One of them."""
        return self._terminals.get(name)

    @property
    def newest_traffic(self) -> float:
        """When one was last used, in seconds since 1970; 1: there is none."""
        return max((terminal.traffic for terminal in self._terminals.values()), default=1.0)

    def add(
        self,
        terminal: Terminal,
        started: Program,
        pty: Pty,
        rights: Rights,
        notices: list[str],
        recording: Recording | None = None,
        calls: ClientCalls | None = None,
    ) -> TerminalSession:
        """One more, with a program on it; what the user is to know goes to ``notices``."""
        name, door = f"{os.getpid()}.{started.pid}", None
        try:
            name, door = self._directory.claim()
        except OSError as error:
            self._log(f"session directory {self._directory.path}: {error.strerror or error}")
            notices.append("this session cannot be attached from elsewhere")
        session = TerminalSession(
            self._loop, self, name, terminal, started, pty, rights, recording=recording
        )
        self._terminals[name] = session
        if door is not None:
            self._doors[name] = SessionDoor(self._loop, door, session)
        if calls is not None:
            calls.newest = session.callee
            self._calls[name] = calls
        return session

    def hang_up(self) -> None:
        """All of them."""
        for terminal in list(self._terminals.values()):
            terminal.hang_up()

    # -- time ----------------------------------------------------------------------------------

    def deadlines(self, now: float) -> list[float]:
        """When :meth:`expire` is due. They are asked for once: some are only "soon", as seen from now."""
        self._due = {
            terminal: when
            for terminal in self._terminals.values()
            if (when := terminal.deadline(now)) is not None
        }
        times = list(self._due.values())
        if self._limits.at is not None:
            times.append(self._limits.at)
        if self._count_at is not None:
            times.append(self._count_at)
        return times

    def watched(self, now: float) -> list[Watched]:
        """What may be looked at while nothing happens; :meth:`watched_until` must follow."""
        return [each for terminal in self._terminals.values() if (each := terminal.watched(now))]

    def watched_until(self, now: float, *, changed: bool) -> None:
        """These looks were made; ``changed``: one found another state."""
        for terminal in list(self._terminals.values()):
            terminal.watched_until(now, changed=changed)

    def expire(self, now: float) -> None:
        """Some deadline may have come."""
        for terminal, when in self._due.items():
            if now >= when:
                terminal.expire(now)
        if self._limits.at is not None and now >= self._limits.at:
            self._end_detached(now)
        if self._count_at is not None and now >= self._count_at:
            self._count_at = None
            if any(terminal.lost for terminal in self._terminals.values()):
                self._make_room(self._options.detached_per_user)

    def _end_detached(self, now: float) -> None:
        for terminal, why in self._limits.over(now, self._terminals.values()):
            if self._options.detached_max > 0:
                self._log(f"session {terminal.name} ends: {why}")
            terminal.hang_up()

    # -- as their keeper -----------------------------------------------------------------------

    def terminal_gone(self, terminal: TerminalSession) -> None:
        """Its end was delivered, or it was hung up."""
        self._terminals.pop(terminal.name, None)
        calls = self._calls.pop(terminal.name, None)
        if calls is not None:
            calls.close()
        door = self._doors.pop(terminal.name, None)
        if door is not None:
            self._directory.release(terminal.name)
            door.close()
        if terminal.running:  # it got SIGHUP: it is only to be reaped
            self._programs.wait_for(terminal.program.pid, terminal.program.pidfd)
        self._on_end()

    def terminal_detached(self, terminal: TerminalSession) -> None:
        """Its last client has left."""
        if self._options.detached_max <= 0:
            terminal.hang_up()
            return
        self._log(f"session {terminal.name} is detached")
        now = monotonic_s()
        self._end_detached(now)
        if self._options.detached_per_user <= 0 or terminal.name not in self._doors:
            return
        if terminal.lost:  # with all the others of a front: each would ask all for nothing
            self._count_at = now + session_commands.LOST_S * random.uniform(*SPREAD)  # noqa: S311
        else:
            self._make_room(self._options.detached_per_user)

    def _make_room(self, limit: int) -> None:
        directory = self._directory
        if len(directory.names()) <= limit:
            return
        try:
            self._programs.run(lambda: session_commands.make_room(directory, limit))
        except OSError as error:
            self._log(f"cannot count sessions: {error}")

    def report(self, text: str) -> None:
        """A line for the log."""
        self._log(text)
