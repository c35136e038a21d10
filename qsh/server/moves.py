"""Clients that move, in the monitor: the rules for addresses are judged again, one question at a time for each login.

ADMITTED ─ Moved ─► a login child judges the new address ─ Judgement ─► MoveVerdict      (nobody answers: the login goes on)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qsh.server.requests import OTHER_RULES, MoveVerdict, Outcome, SpawnLogin

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.front_link import FrontLink
    from qsh.server.log import Log
    from qsh.server.login_children import LoginChildren, Session
    from qsh.server.login_report import LoginReport
    from qsh.server.packets import PacketSocket
    from qsh.server.requests import Login, Moved, SpawnerReport

__all__ = ["Moves"]


class Moves:
    """``new`` makes a session for a login, and ``deadline_s`` says until when it may take."""

    def __init__(
        self,
        children: LoginChildren,
        spawner: PacketSocket[SpawnerReport],
        front: FrontLink,
        report: LoginReport,
        log: Log,
        deadline_s: Callable[[], float],
    ) -> None:
        self._children, self._spawner, self._front = children, spawner, front
        self._report, self._log, self._deadline_s = report, log, deadline_s

    def ask(self, request: Moved, key: bytes) -> None:
        """``key``: the public host key of the handshake."""
        sessions = self._children.of(request.session_id)
        admitted = next((session for session in sessions if session.accepted), None)
        if admitted is None:  # its host has ended, or has given up our socket: it is its user's
            self._answer(request.session_id, Outcome.REFUSED)
            return
        if self._children.are_many or any(not session.judged for session in sessions):
            self._answer(request.session_id, Outcome.CONTINUE)
            return
        login = msgspec.structs.replace(admitted.login, client=request.client)
        try:
            self._start(admitted, login, key)
        except OSError as error:
            self._log.error(f"cannot judge a move: {error.strerror}")
            self._answer(request.session_id, Outcome.CONTINUE)

    def _start(self, admitted: Session, login: Login, key: bytes) -> None:
        session, theirs = self._children.new(login, self._deadline_s())
        session.moved_from = admitted.client
        request = SpawnLogin(
            session.number,
            login,
            key,
            None,
            admitted.client,
            admitted.since_s,
            list(admitted.steps),
        )
        try:
            self._spawner.send(request, [theirs.detach()])
        except OSError:
            self._children.forget(session)
            raise

    def judged(self, session: Session, outcome: str, reason: str) -> None:
        """By the login child, or because there was none any more."""
        login, before = session.login, session.moved_from or session.login.client
        session.judged = True
        self._report.moved(login, before, outcome, reason)
        if outcome == Outcome.ACCEPTED:
            for each in self._children.of(login.session_id):
                if each.accepted:
                    each.client = login.client
        self._answer(login.session_id, outcome, rules=reason == OTHER_RULES)
        self._children.forget(session)

    def _answer(self, session_id: bytes, outcome: str, *, rules: bool = False) -> None:
        self._front.send(MoveVerdict(session_id, outcome, rules))
