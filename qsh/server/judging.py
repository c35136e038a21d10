"""Logins in the monitor: from the front's Login to a verdict, and from an accepted one to a session host.

Login ─ login_table.py: may it be asked? ─ turns.py ─► SpawnLogin ─► Judgement ─► Verdict
                                                             │              └─ accepted ─► SpawnSession, or Begin ─► session host
                                                             └─ its end, its time is over, it broke the rules ─► refused
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsh.auth.method_chains import PUBLICKEY
from qsh.clock import monotonic_s, wall_s
from qsh.errors import RemoteProtocolError
from qsh.server.login_table import LoginTable
from qsh.server.moves import Moves
from qsh.server.packets import packet_pair
from qsh.server.penalties import cause_of
from qsh.server.requests import (
    Adopt,
    Begin,
    Dialogue,
    Grant,
    Judgement,
    LeftClient,
    Outcome,
    SpawnLogin,
    SpawnSession,
    Step,
    TerminalLogin,
    Verdict,
)
from qsh.server.resume_records import MAX_METHODS, ResumeRecords
from qsh.server.turns import Turns, Waiting

if TYPE_CHECKING:
    from qsh.server.front_link import FrontLink
    from qsh.server.log import Log
    from qsh.server.login_children import LoginChildren, Session
    from qsh.server.login_report import LoginReport
    from qsh.server.packets import PacketSocket
    from qsh.server.requests import Forget, HeldKeys, Login, Moved, Signed, SpawnerReport
    from qsh.server.running_hosts import RunningHosts

__all__ = ["Judging"]

KEY_BYTES: Final = 32
"""Of the public half of a client's key."""
NO_GRACE_S: Final = 3600.0


class Judging:
    """``grace_s``, ``max_attempts``: as the configuration has them."""

    def __init__(
        self,
        children: LoginChildren,
        hosts: RunningHosts,
        spawner: PacketSocket[SpawnerReport],
        front: FrontLink,
        report: LoginReport,
        log: Log,
        grace_s: float,
        max_attempts: int,
    ) -> None:
        self._children, self._hosts, self._spawner = children, hosts, spawner
        self._front = front
        self._report, self._log, self._grace_s = report, log, grace_s
        self.table = LoginTable(grace_s, max_attempts)
        self._turns = Turns(children)
        self._moves = Moves(children, spawner, front, report, log, self._deadline_s)
        self._records: ResumeRecords
        self._keys: list[bytes] = []
        """All public host keys that were held so far: what a handshake was signed with stays what it was."""
        self._first = 0
        """From there on they are the signer's own."""

    def renew(self, grace_s: float, max_attempts: int) -> None:
        """The configuration was read again."""
        self._grace_s = grace_s
        self.table.renew(grace_s, max_attempts)

    def hold(self, held: HeldKeys) -> None:
        """What records of logins are sealed with, and what handshakes are signed with, from now on."""
        self._records = ResumeRecords(held.resume)
        if self._keys[self._first :] != held.keys:
            self._first = len(self._keys)
            self._keys += held.keys

    def sign(self, report: Signed) -> None:
        """A session id that may ask for a login. Raises RemoteProtocolError if it did before."""
        self.table.sign(report.session_id, self._first + report.key, monotonic_s())

    def prove(self, session_id: bytes) -> int:
        """The signer's number of the key of the handshake; below 0: other keys are held by now than its client was told of.
        Raises RemoteProtocolError if it must not be asked now.
        """
        return self.table.prove(session_id) - self._first

    def _deadline_s(self) -> float:
        return monotonic_s() + (self._grace_s or NO_GRACE_S)

    def _key(self, number: int) -> bytes:
        """The public host key that a handshake was signed with; empty, which fits no proof, if there is no such one."""
        return self._keys[number] if number < len(self._keys) else b""

    # -- what the front asks ---------------------------------------------------------------------

    def login(self, login: Login) -> None:
        """Raises RemoteProtocolError if it must not be asked now."""
        if login.method and (login.offers or login.proof or login.resume):
            raise RemoteProtocolError("not-permitted", "login: a method together with keys")
        try:
            key = self.table.login(login.session_id, monotonic_s())
        except RemoteProtocolError as error:
            if error.code != "too-late":
                raise
            # an honest front's clock starts a little later than ours
            self._front.send(Verdict(login.session_id, Outcome.REFUSED, final=True))
            return
        if self._children.are_many or self._turns.are_many:
            self._cannot_judge(login, "too many logins at the same time")
            return
        self._turns.add(Waiting(login, self._key(key), self._deadline_s()))
        self._go_on(monotonic_s())

    def _go_on(self, now: float) -> None:
        """With those whose turn it is."""
        while (waiting := self._turns.next(now)) is not None:
            try:
                self._start(waiting, now)
            except OSError as error:
                self._cannot_judge(waiting.login, error.strerror)

    def _cannot_judge(self, login: Login, reason: str | None) -> None:
        self._log.error(f"cannot judge a login: {reason}")
        self._refused(login)

    def _refused(self, login: Login, penalty: str = "") -> None:
        final = self.table.judged(login.session_id, accepted=False, counts=True)
        self._front.send(Verdict(login.session_id, Outcome.REFUSED, final=final, penalty=penalty))

    def moved(self, request: Moved) -> None:
        """Raises RemoteProtocolError if it must not be asked now."""
        self._moves.ask(request, self._key(self.table.moved(request.session_id)))

    def _start(self, waiting: Waiting, now: float, *, adopts: bool = True) -> None:
        login = waiting.login
        session, theirs = self._children.new(login, waiting.deadline_s)
        session.began_s, session.host_key = now, waiting.host_key
        session.steps = self.table.steps(login.session_id, login.user)
        if login.resume is not None:
            session.steps = tuple(Step(method) for method in self._records.methods(login))
        may_adopt = adopts and login.resume is not None
        orphans = self._hosts.orphans(login.user) if may_adopt else {}
        ends = [theirs.detach()]
        try:
            if login.method:
                front_end, child_end = packet_pair()
                ends.append(child_end.detach())
                if self._front.link is not None:
                    self._front.link.send(Dialogue(login.session_id), [front_end.detach()])
            request = SpawnLogin(
                session.number,
                login,
                waiting.host_key,
                self._records.opened(login),
                steps=list(session.steps),
                orphans=orphans,
            )
            self._spawner.send(request, ends)
        except OSError:
            self._children.forget(session)
            raise

    def forget(self, request: Forget) -> None:
        """The client went away; a login child that still judges (or hangs in a name service) does so for nobody."""
        self.table.forget(request.session_id)
        waited = self._turns.leave(request.session_id)
        if waited is not None and request.answered:
            self._report.left(waited)
        for session in self._children.of(request.session_id):
            session.left = True
            if not session.judged:
                if request.answered:
                    self._report.left(session.login)
                self._children.abandon(session)

    def front_gone(self) -> list[LeftClient]:
        """Nobody waits for any of it. Returns the clients that are still to hear of it."""
        self.table.forget_all()
        self._turns.leave_all()
        for session in self._children.judging:
            self._children.abandon(session)
        left = []
        for session in self._children.sessions.values():
            login = session.login
            if session.accepted and not session.left and login.connection_id:
                left.append(LeftClient(session.client, login.server, login.connection_id))
            session.orphan = session.left = session.accepted
        return left

    # -- time ------------------------------------------------------------------------------------

    @property
    def deadlines_s(self) -> list[float]:
        """When :meth:`expire` has something to do."""
        deadlines = [session.deadline_s for session in self._children.judging]
        return deadlines + self._turns.deadlines_s(monotonic_s())

    def expire(self, now: float) -> None:
        """Refuse what takes longer than LoginGraceTime, and go on with what waited for its turn."""
        for login in self._turns.expired(now):
            self._report.timed_out(login)
            self._refused(login)
        for session in self._children.judging:
            if now >= session.deadline_s:
                self._report.timed_out(session.login)
                self._children.end_child(session)
                self._refuse(session, "the login child did not answer within LoginGraceTime")
        self._go_on(now)

    # -- what a login child or a session host says -----------------------------------------------

    def read(self, session: Session) -> None:
        """One report."""
        try:
            received = session.link.receive()
            if received is None:
                return
            report, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)
            if isinstance(report, Judgement) and not session.judged:
                self._judged(session, report)
            elif isinstance(report, TerminalLogin) and session.accepted:
                self._hosts.log_in(session, report)
            else:
                raise RemoteProtocolError("not-permitted", type(report).__name__)
        except EOFError:
            if session.judged:
                self._children.forget(session)
            else:
                penalty = "crash" if session.pid else ""  # without a process it was never asked
                self._refuse(session, "the login child ended without a judgement", penalty)
        except RemoteProtocolError as error:
            self._log.error(f"session {session.number} broke the rules: {error}")
            if session.judged:
                self._children.forget(session)
            else:
                self._refuse(session, "the login child broke the rules", "crash")

    def _judged(self, session: Session, judgement: Judgement) -> None:
        if session.moved_from is not None:
            self._moves.judged(session, judgement.outcome, judgement.reason)
            return
        if judgement.adopts and not self._hosts.may_adopt(judgement, session.login.user):
            self._judge_again(session)
            return
        session.judged = True
        login, outcome = session.login, judgement.outcome
        accepted = outcome == Outcome.ACCEPTED
        final = self.table.judged(
            login.session_id,
            accepted=accepted,
            counts=outcome == Outcome.REFUSED and judgement.counts,
            limit=judgement.max_attempts,
        )
        if outcome == Outcome.PARTIAL:
            self.table.add_step(login.session_id, _step(login))
        refused = outcome == Outcome.REFUSED and judgement.counts
        session.rights = judgement.rights
        host = self._hosts.get(judgement.adopts) or session
        verdict = Verdict(
            login.session_id,
            outcome,
            judgement.acceptable,
            final and not accepted,
            str(host.number),
            notices=list(judgement.notices),
            resume=self._record_of(session, judgement),
            methods=list(judgement.methods),
            penalty=cause_of(judgement.reason) if refused else "",
        )
        self._report.counted(login, outcome)
        if accepted and judgement.grant is not None:
            self._accept(session, host, judgement, judgement.grant, verdict)
            return
        if outcome == Outcome.PARTIAL:
            self._report.partly(login, judgement)
        if refused:
            self._report.failed(login, judgement, verdict.penalty)
        self._front.send(verdict)
        self._children.forget(session)

    def _judge_again(self, session: Session) -> None:
        """Another client of the same host was there first, or the host has ended meanwhile: it needs one of its own, with what
        comes before that.
        """
        session.judged = True
        self._children.forget(session)
        again = Waiting(session.login, session.host_key, session.deadline_s)
        try:
            self._start(again, monotonic_s(), adopts=False)
        except OSError as error:
            self._refuse(session, f"cannot be judged: {error.strerror}")

    def _accept(
        self,
        session: Session,
        host: Session,
        judgement: Judgement,
        grant: Grant,
        verdict: Verdict,
    ) -> None:
        self._report.accepted(session.login, judgement, host)
        try:
            if judgement.adopts:
                self._front.send(verdict, [self._adopt(session, host)])
                return
            fresh = self._spawn_session(session, grant, kept=judgement.keeps)
            self._front.send(verdict, [fresh])
        except OSError as error:
            self._log.error(f"cannot start a session: {error.strerror}")
            self._front.send(verdict)
            self._children.forget(session)

    def _record_of(self, session: Session, judgement: Judgement) -> bytes:
        """For a client that brings a key to come back with. Once for each login; what two keys permit together no record says."""
        login = session.login
        if (
            judgement.grant is None  # who was refused may have named an offer that is none
            or not judgement.resumable
            or login.resume is not None
            or len(login.resume_key) != KEY_BYTES
        ):
            return b""
        steps = (*session.steps, _step(login))
        keys = [step.key for step in steps if step.key]
        if len(keys) > 1 or len(steps) > MAX_METHODS:
            return b""
        key = keys[0] if keys else b""
        uid, methods = judgement.grant.account.uid, [step.method for step in steps]
        return self._records.seal(login.user, uid, key, login.resume_key, methods)

    def _spawn_session(self, session: Session, grant: Grant, *, kept: bool) -> int:
        """Replace the login child by a session host, or have it start one; returns the front's end of its socket."""
        ours, theirs = packet_pair()
        front_end, host_end = packet_pair()
        child, pid = self._children.replace_link(session, ours), session.pid
        session.accepted, session.uid, session.pid = True, grant.account.uid, 0
        session.since_s, session.client = wall_s(), session.login.client
        session.kept = kept
        ends = [theirs.detach(), host_end.detach()]
        if not kept:
            child.close()
            self._spawner.send(SpawnSession(session.number, grant), ends)
            return front_end.detach()
        try:
            child.send(Begin(), ends)
        finally:
            child.close()
        if pid:  # else the spawner is still to say which it is
            self._hosts.begin(pid, session)
        return front_end.detach()

    def _adopt(self, session: Session, host: Session) -> int:
        """Have the resumed terminal's own host go on; returns the front's end of its socket. Raises OSError."""
        login = session.login
        host.orphan = False
        front_end, host_end = packet_pair()
        host.link.send(Adopt(login.client, login.server), [host_end.detach()])
        host.login, host.client, host.left = login, login.client, False
        host.since_s, host.steps = wall_s(), session.steps
        self._children.forget(session)
        return front_end.detach()

    def _refuse(self, session: Session, reason: str, penalty: str = "") -> None:
        session.judged = True
        self._log.error(f"login of {session.login.user}: {reason}")
        if session.moved_from is not None:
            self._moves.judged(session, Outcome.CONTINUE, reason)
            return
        self._refused(session.login, penalty)
        self._children.forget(session)


def _step(login: Login) -> Step:
    """What a login that was accepted, or was partly, has done."""
    if login.method or login.proof is None:
        return Step(login.method or PUBLICKEY)
    return Step(PUBLICKEY, login.offers[login.proof.offer])
