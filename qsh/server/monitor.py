"""The monitor: knows which handshakes were signed, lets the spawner judge logins, keeps login records, restarts the others.

Root (or the one user of a qshd without root), one thread, no network, no QUIC, no native code, no key, nothing that can block for
long; and if it did, handshakes would go on: the signer answers the front. What the front may ask for is the table in
login_table.py; a request out of turn ends the front.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import selectors
import signal
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsh.auth.method_chains import PUBLICKEY, log_name
from qsh.clock import monotonic_s, wall_s
from qsh.errors import RemoteProtocolError
from qsh.server import login_records
from qsh.server.login_table import LoginTable
from qsh.server.metrics import Gauges, Metrics
from qsh.server.metrics_socket import MetricsSocket
from qsh.server.packets import PacketSocket, packet_pair, raise_descriptor_limit
from qsh.server.penalties import cause_of
from qsh.server.reloading import set_level
from qsh.server.requests import (
    FRONT,
    OTHER_RULES,
    SIGNER,
    Begin,
    Counts,
    Dialogue,
    Forget,
    FrontRequest,
    Grant,
    HeldKeys,
    HostReport,
    Identity,
    Judgement,
    Login,
    Moved,
    MoveVerdict,
    NewListener,
    Outcome,
    Proofs,
    Reaped,
    RecordLogin,
    RecordLogout,
    Reload,
    Reloaded,
    Signed,
    Spawned,
    SpawnerReport,
    SpawnFailed,
    SpawnLogin,
    SpawnSession,
    StartFront,
    Step,
    TerminalLogin,
    Verdict,
)
from qsh.server.resident import resident_bytes
from qsh.server.resume_records import MAX_METHODS, ResumeRecords
from qsh.server.service import Service
from qsh.server.signer_link import SignerLink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.server.log import Fields, Log
    from qsh.server.requests import Address, LoginRecord

__all__ = ["Monitor"]

FRONT_RESTART_S: Final = 1.0
"""A front that died younger than this is not started again: something is wrong that will not mend itself. If there was no
process to be had for it, the next try is after this."""
MAX_JUDGING: Final = 256
"""Login children at a time: a front that was broken into must not fill the machine with them."""
STOP_S: Final = 2.0
"""How long qshd waits at its end for the front to say goodbye to its clients."""
KEY_BYTES: Final = 32
"""Of the public half of a client's key."""
LEFT: Final = "the client did not wait for the judgement of its answers"
TERMINAL: Final = re.compile(r"pts/[0-9]{1,9}")


@dataclass
class _Session:
    """A login child, and after it the session host."""

    number: int
    login: Login
    link: PacketSocket[HostReport]
    deadline_s: float
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
    kept: bool = False
    """By a login child, which is the session host's parent."""
    pid: int = 0
    uid: int = -1
    lines: dict[str, int] = field(default_factory=dict)


@dataclass
class Monitor:
    """Runs until SIGTERM or until the spawner or the front cannot be kept alive."""

    spawner: PacketSocket[SpawnerReport]
    keep: Callable[[Sequence[bytes]], None]
    """Takes what fronts need that outlives qshd, once."""
    log: Log
    grace_s: float
    max_attempts: int
    root: bool
    reloads: bool = False
    """SIGHUP has the configuration read again; else it means nothing."""
    idle_s: float = 0.0
    """End when there has been no session for so long; 0: never."""
    service: Service = field(default_factory=Service)
    metrics_path: str = "none"
    metrics: Metrics = field(default_factory=lambda: Metrics(wall_s()))
    table: LoginTable = field(init=False)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _sessions: dict[int, _Session] = field(default_factory=dict)
    _hosts: dict[int, _Session] = field(default_factory=dict)
    _abandoned: set[int] = field(default_factory=set)
    """Numbers of login children that are to be killed as soon as their process ids are known."""
    _numbers: int = 0
    _front: PacketSocket[FrontRequest] | None = None
    _signer: SignerLink = field(init=False)
    _records: ResumeRecords = field(init=False)
    _front_pid: int = 0
    _front_since: float = 0.0
    _front_due_s: float | None = None
    """When to try again to start one."""
    _idle_since_s: float | None = None
    _stop: bool = False
    _reload: bool = False
    exit_status: int = 0
    _counts: Counts = field(default_factory=lambda: Counts({}, 0, 0))
    """The front's latest."""

    def __post_init__(self) -> None:
        self.table = LoginTable(self.grace_s, self.max_attempts)
        self._signer = SignerLink(self.spawner, self._selector, self.log, self)

    def run(self) -> int:
        """The monitor's loop; returns the exit status of qshd."""
        wake_r, wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_w)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload if self.reloads else signal.SIG_IGN)
        self._selector.register(wake_r, selectors.EVENT_READ, lambda: os.read(wake_r, 4096))
        self._selector.register(self.spawner, selectors.EVENT_READ, self._read_spawner)
        raise_descriptor_limit()
        metrics = self._publish()
        self._signer.start()
        while not self._stop:
            self._turn(self._timeout())
            self._expire()
            if self._reload:
                self._ask_reload()
        if metrics is not None:
            metrics.close()
        self._end()
        return self.exit_status

    def _publish(self) -> MetricsSocket | None:
        if self.metrics_path == "none":
            return None
        try:
            return MetricsSocket(self.metrics_path, self._selector, self._page)
        except OSError as error:
            reason = error.strerror or error
            self.log.error(f"QshMetricsSocket {self.metrics_path}: {reason}; there are no metrics")
            return None

    def _page(self) -> str:
        judging = sum(not session.judged for session in self._sessions.values())
        pids = {"monitor": os.getpid(), "front": self._front_pid, "signer": self._signer.pid}
        memory = {name: size for name, pid in pids.items() if (size := resident_bytes(pid))}
        counts = self._counts
        return self.metrics.render(
            Gauges(
                len(self._hosts),
                judging,
                counts.unauthenticated,
                counts.authenticated,
                memory,
                counts.penalised,
            )
        )

    def _turn(self, timeout_s: float | None) -> None:
        self._want_writing(self.spawner, self._read_spawner)
        if self._front is not None:
            self._want_writing(self._front, self._read_front)
        if self._signer.link is not None:
            self._want_writing(self._signer.link, self._signer.read)
        registered = self._selector.get_map()
        for key, events in self._selector.select(timeout_s):
            if registered.get(key.fd) is not key:
                continue  # a handler before this one closed it; its number may be another's by now
            if events & selectors.EVENT_WRITE and isinstance(key.fileobj, PacketSocket):
                with contextlib.suppress(OSError):  # its end is seen by the reader
                    key.fileobj.flush()
            if events & selectors.EVENT_READ:
                handler: Callable[[], Any] = key.data
                handler()

    def _want_writing(self, link: PacketSocket[Any], reader: Callable[[], None]) -> None:
        """Wake up when a queue can go on, else what waits there would wait for the next packet."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.waiting else 0)
        if self._selector.get_key(link).events != wanted:
            self._selector.modify(link, wanted, reader)

    def _on_stop(self, *_: object) -> None:
        self._stop = True

    def _on_reload(self, *_: object) -> None:
        self._reload = True

    def _ask_reload(self) -> None:
        self._reload = False
        self.log.info("Received SIGHUP; reading the configuration again.")
        self.service.reloading()
        try:
            self.spawner.send(Reload())
        except OSError as error:
            self.log.error(f"cannot read the configuration again: {error.strerror}")

    def _reloaded(self, report: NewListener | Reloaded, descriptors: list[int]) -> None:
        """Sockets and rules for the front; one that starts only now has them already, and knows them again."""
        if isinstance(report, NewListener):
            for descriptor in descriptors:
                with socket.socket(fileno=os.dup(descriptor)) as sock:
                    self.service.store(sock)
        else:
            self.service.ready()
            self._complain(report.errors)
            if report.rules is None:
                self.log.error("the old configuration stays in force")
                return
            self.grace_s, self.max_attempts = report.rules.grace_s, report.rules.max_attempts
            self.table.renew(self.grace_s, self.max_attempts)
            self.service.keep(report.rules.listening)
            set_level(self.log, report.rules.level)
            self.log.info("the configuration was read again")
        message = report if isinstance(report, NewListener) else report.rules
        if self._front is None or message is None:
            for descriptor in descriptors:
                os.close(descriptor)
            return
        with contextlib.suppress(OSError):  # its end is seen by the reader
            self._front.send(message, descriptors)

    def _end(self) -> None:
        """The front sees its links end, tells its clients and goes; if it does not go, it is killed."""
        self.service.stopping()
        self._close_front()
        self._signer.close()
        if self._front_pid and not _ends_within(self._front_pid, STOP_S):
            _kill(self._front_pid)
        self.spawner.close()
        end_s = monotonic_s() + STOP_S
        for session in self._hosts.values():
            for record in _logouts(session) if monotonic_s() < end_s else ():
                self._complain(login_records.write(record))  # nobody else is served any more

    # -- time ------------------------------------------------------------------------------------

    def _timeout(self) -> float | None:
        pending = [s.deadline_s for s in self._sessions.values() if not s.judged]
        if self._front_due_s is not None:
            pending.append(self._front_due_s)
        if self._signer.due_s is not None:
            pending.append(self._signer.due_s)
        if (end_s := self._idle_end()) is not None:
            pending.append(end_s)
        if self.service.deadline_s is not None:
            pending.append(self.service.deadline_s)
        return max(0.0, min(pending) - monotonic_s()) if pending else None

    def _expire(self) -> None:
        now = monotonic_s()
        self.service.alive(now)
        for session in [s for s in self._sessions.values() if not s.judged and now >= s.deadline_s]:
            self.log.info(
                f"Timeout before authentication for {session.login.client[0]} port {session.login.client[1]}",
                **_fields("login-timeout", session.login),
            )
            self._end_child(session)
            self._refuse(session, "the login child did not answer within LoginGraceTime")
        if self._front_due_s is not None and now >= self._front_due_s:
            self._start_front()
        self._signer.expire(now)
        if (end_s := self._idle_end()) is not None and now >= end_s:
            self.log.info(f"nobody has been logged in for {self.idle_s:g} s")
            self._stop = True

    def _idle_end(self) -> float | None:
        """When to end for want of sessions."""
        if not self.idle_s or self._hosts or self._sessions:
            self._idle_since_s = None
            return None
        if self._idle_since_s is None:
            self._idle_since_s = monotonic_s()
        return self._idle_since_s + self.idle_s

    def _abandon(self, session: _Session) -> None:
        """Nobody waits for this judgement any more."""
        session.judged = True
        self._end_child(session)
        self._forget(session)

    def _end_child(self, session: _Session) -> None:
        if session.pid:
            _kill(session.pid)
        else:
            self._abandoned.add(session.number)

    # -- the front -------------------------------------------------------------------------------

    def _start_front(self) -> None:
        """Not without keys: the signer's first words start it then."""
        self._front_due_s = None
        if self._signer.held is None:
            return
        try:
            self._try_front(self._signer.held)
        except OSError as error:
            self._retry_front(f": {error.strerror}")

    def _retry_front(self, reason: str = "") -> None:
        self.log.error(f"cannot start the front{reason}; trying again in {FRONT_RESTART_S:g} s")
        self._front_due_s = monotonic_s() + FRONT_RESTART_S

    def _try_front(self, held: HeldKeys) -> None:
        ours, theirs = packet_pair()
        sign_signer, sign_front = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        front: PacketSocket[FrontRequest] = PacketSocket(ours, FrontRequest)
        front.send(Identity(held.keys, held.certificates))
        self.spawner.send(StartFront(), [theirs.detach(), sign_front.detach()])
        self._front = front
        self._signer.serve(sign_signer)
        self._front_since = monotonic_s()
        self._selector.register(self._front, selectors.EVENT_READ, self._read_front)

    def _drop_front(self) -> None:
        """A front that ended or broke the rules: it may keep nothing that it has."""
        self._close_front()
        if self._front_pid:
            _kill(self._front_pid)

    def _close_front(self) -> None:
        if self._front is None:
            return
        self._selector.unregister(self._front)
        self._front.close()
        self._front = None
        self._signer.drop_front()
        self.table.forget_all()
        for session in [s for s in self._sessions.values() if not s.judged]:
            self._abandon(session)

    def _front_ended(self) -> None:
        self._front_pid = 0
        self._drop_front()
        if self._stop:
            return
        if monotonic_s() - self._front_since < FRONT_RESTART_S:
            self.log.fatal("the front ended as soon as it was started; see the lines above")
            self._stop, self.exit_status = True, 255
            return
        self.log.error("the front ended; starting another")
        self._start_front()

    def _read_front(self) -> None:
        if self._front is None:
            return
        try:
            received = self._front.receive()
            if received is None:
                return
            request, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)
            if isinstance(request, Login):
                self._signer.read()  # it has told us of this session id before the front could use it
                self._login(request)
            elif isinstance(request, Forget):
                self._forget_connection(request)
            elif isinstance(request, Moved):
                self._moved(request)
            elif isinstance(request, Counts):
                self._counts = request
                self.metrics.front_counts(request.attempts, request.penalties)
            else:
                self._signer.prove(request.session_id, self.table.prove(request.session_id))
        except EOFError:
            self._drop_front()  # its end is reported by the spawner
        except RemoteProtocolError as error:
            self.log.error(f"the front broke the rules: {error}")
            self._drop_front()

    def _answer(self, verdict: Verdict, descriptors: list[int]) -> None:
        if self._front is None:
            for descriptor in descriptors:
                os.close(descriptor)
            return
        with contextlib.suppress(OSError):
            self._front.send(verdict, descriptors)

    # -- the signer ------------------------------------------------------------------------------

    def _signer_ended(self) -> None:
        if not self._signer.ended(stopping=self._stop):
            self.log.fatal("the signer ended as soon as it was started; see the lines above")
            self._stop, self.exit_status = True, 255

    def keys_held(self, before: HeldKeys | None, held: HeldKeys) -> None:
        """From now on there can be a front."""
        self._records = ResumeRecords(held.resume)
        if before is None:
            self.keep(held.lasting)
            self._start_front()
        elif (before.keys, before.certificates) != (held.keys, held.certificates):
            self.log.info("the host keys are others now; the front is started again")
            self._drop_front()

    def signed(self, report: Signed) -> None:
        """A session id that may ask for a login."""
        try:
            self.table.sign(report.session_id, report.key, monotonic_s())
        except RemoteProtocolError as error:  # it opens no login: the table knows it as it was
            self.log.error(str(error))
        else:
            self.metrics.signed += 1

    def proved(self, proofs: Proofs) -> None:
        """For the front that asked."""
        if self._front is not None:
            with contextlib.suppress(OSError):  # its end is seen by the reader
                self._front.send(proofs)

    # -- clients that move -----------------------------------------------------------------------

    def _moved(self, request: Moved) -> None:
        """Have the rules for addresses judged again, one question at a time for each login."""
        key = self._key(self.table.moved(request.session_id))
        sessions = [s for s in self._sessions.values() if s.login.session_id == request.session_id]
        admitted = next((session for session in sessions if session.accepted), None)
        if admitted is None:  # its host has ended, or has given up our socket: it is its user's
            self._answer_move(request.session_id, Outcome.REFUSED)
            return
        if self._is_busy or any(not session.judged for session in sessions):
            self._answer_move(request.session_id, Outcome.CONTINUE)
            return
        login = msgspec.structs.replace(admitted.login, client=request.client)
        session, theirs = self._new_session(login)
        session.moved_from = admitted.client
        try:
            self.spawner.send(
                SpawnLogin(
                    session.number,
                    login,
                    key,
                    None,
                    admitted.client,
                    admitted.since_s,
                    list(admitted.steps),
                ),
                [theirs.detach()],
            )
        except OSError as error:
            self.log.error(f"cannot judge a move: {error.strerror}")
            self._forget(session)
            self._answer_move(request.session_id, Outcome.CONTINUE)

    def _move_judged(self, session: _Session, outcome: str, reason: str) -> None:
        """Told in the log either way: it is where a login came from, later."""
        login, before = session.login, session.moved_from or session.login.client
        session.judged = True
        what = f"{login.user} from {before[0]} port {before[1]} qsh: moved to {login.client[0]} port {login.client[1]}"
        if outcome == Outcome.REFUSED:
            self.log.info(f"Refused {what}: {reason}", **_fields("move-refused", login))
        elif outcome == Outcome.ACCEPTED:
            self.log.info(what, **_fields("moved", login))
            for each in self._sessions.values():
                if each.accepted and each.login.session_id == login.session_id:
                    each.client = login.client
        self._answer_move(login.session_id, outcome, rules=reason == OTHER_RULES)
        self._forget(session)

    def _answer_move(self, session_id: bytes, outcome: str, *, rules: bool = False) -> None:
        if self._front is not None:
            with contextlib.suppress(OSError):
                self._front.send(MoveVerdict(session_id, outcome, rules))

    # -- logins ----------------------------------------------------------------------------------

    def _key(self, number: int) -> bytes:
        """The public host key that a handshake was signed with; empty, which fits no proof, if there is no such one any more."""
        keys = self._signer.held.keys if self._signer.held is not None else []
        return keys[number] if number < len(keys) else b""

    def _login(self, login: Login) -> None:
        if login.method and (login.offers or login.proof or login.resume):
            raise RemoteProtocolError("not-permitted", "login: a method together with keys")
        try:
            key = self.table.login(login.session_id, monotonic_s())
        except RemoteProtocolError as error:
            if error.code != "too-late":
                raise
            # an honest front's clock starts a little later than ours
            self._answer(Verdict(login.session_id, Outcome.REFUSED, final=True), [])
            return
        try:
            if self._is_busy:
                raise OSError(errno.EAGAIN, "too many logins at the same time")
            self._start_login(login, self._key(key))
        except OSError as error:
            self.log.error(f"cannot judge a login: {error.strerror}")
            final = self.table.judged(login.session_id, accepted=False, counts=True)
            self._answer(Verdict(login.session_id, Outcome.REFUSED, final=final), [])

    @property
    def _is_busy(self) -> bool:
        return sum(not session.judged for session in self._sessions.values()) >= MAX_JUDGING

    def _new_session(self, login: Login) -> tuple[_Session, socket.socket]:
        """With the child's end of its socket."""
        ours, theirs = packet_pair()
        self._numbers += 1
        session = _Session(
            self._numbers,
            login,
            PacketSocket(ours, HostReport),
            monotonic_s() + (self.grace_s or 3600.0),
        )
        self._sessions[session.number] = session
        self._selector.register(
            session.link, selectors.EVENT_READ, lambda: self._read_session(session)
        )
        return session, theirs

    def _start_login(self, login: Login, host_key: bytes) -> None:
        session, theirs = self._new_session(login)
        session.steps = self.table.steps(login.session_id, login.user)
        if login.resume is not None:
            session.steps = tuple(Step(method) for method in self._records.methods(login))
        ends = [theirs.detach()]
        try:
            if login.method:
                front_end, child_end = packet_pair()
                ends.append(child_end.detach())
                if self._front is not None:
                    self._front.send(Dialogue(login.session_id), [front_end.detach()])
            request = SpawnLogin(
                session.number,
                login,
                host_key,
                self._records.opened(login),
                steps=list(session.steps),
            )
            self.spawner.send(request, ends)
        except OSError:
            self._forget(session)
            raise

    def _forget_connection(self, request: Forget) -> None:
        """The client went away; a login child that still judges (or hangs in a name service) does so for nobody."""
        self.table.forget(request.session_id)
        for session in list(self._sessions.values()):
            if not session.judged and session.login.session_id == request.session_id:
                if request.answered:
                    self._tell_left(session.login)
                self._abandon(session)

    def _tell_left(self, login: Login) -> None:
        """Who does not wait for a late answer, which a wrong password's is, would try passwords without a trace."""
        where = f"from {login.client[0]} port {login.client[1]} qsh"
        method = log_name(login.method)
        self.metrics.login(method, Outcome.REFUSED)
        self.log.info(
            f"Failed {method} for {login.user} {where}",
            **_fields("login-failed", login),
            method=method,
            reason=LEFT,
        )
        self.log.info(f"{login.user} {where}: {LEFT}")

    def _read_session(self, session: _Session) -> None:
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
                self._log_in(session, report)
            else:
                raise RemoteProtocolError("not-permitted", type(report).__name__)
        except EOFError:
            if session.judged:
                self._forget(session)
            else:
                penalty = "crash" if session.pid else ""  # without a process it was never asked
                self._refuse(session, "the login child ended without a judgement", penalty)
        except RemoteProtocolError as error:
            self.log.error(f"session {session.number} broke the rules: {error}")
            if session.judged:
                self._forget(session)
            else:
                self._refuse(session, "the login child broke the rules", "crash")

    def _judged(self, session: _Session, judgement: Judgement) -> None:
        if session.moved_from is not None:
            self._move_judged(session, judgement.outcome, judgement.reason)
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
        where = f"from {login.client[0]} port {login.client[1]} qsh"
        refused = outcome == Outcome.REFUSED and judgement.counts
        verdict = Verdict(
            login.session_id,
            outcome,
            judgement.acceptable,
            final and not accepted,
            str(session.number),
            notices=list(judgement.notices),
            resume=self._record_of(session, judgement),
            methods=list(judgement.methods),
            penalty=cause_of(judgement.reason) if refused else "",
        )
        method = "resume" if login.resume is not None else log_name(login.method or PUBLICKEY)
        self.metrics.login(method, outcome)
        if accepted and judgement.grant is not None:
            key = f": {judgement.key}" if judgement.key else ""
            self.log.info(
                f"Accepted {method} for {login.user} {where}{key}",
                **_fields("login-accepted", login),
                method=method,
                key=judgement.key,
                session=session.number,
            )
            try:
                fresh = self._spawn_session(session, judgement.grant, kept=judgement.keeps)
                self._answer(verdict, [fresh])
            except OSError as error:
                self.log.error(f"cannot start a session: {error.strerror}")
                self._answer(verdict, [])
                self._forget(session)
            return
        if outcome == Outcome.PARTIAL:
            self.log.info(
                f"Partial {method} for {login.user} {where}",
                **_fields("login-partial", login),
                method=method,
                key=judgement.key,
            )
        if refused:
            invalid = "invalid user " if verdict.penalty == "invaliduser" else ""
            self.log.info(
                f"Failed {method} for {invalid}{login.user} {where}",
                **_fields("login-failed", login),
                method=method,
                reason=judgement.reason,
            )
            # why a key is not taken is told to those who look for it; why an account is not, to everybody, as sshd does
            level = self.log.verbose if judgement.reason.startswith("key ") else self.log.info
            level(f"{login.user} {where}: {judgement.reason}")
        self._answer(verdict, [])
        self._forget(session)

    def _record_of(self, session: _Session, judgement: Judgement) -> bytes:
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

    def _spawn_session(self, session: _Session, grant: Grant, *, kept: bool) -> int:
        """Replace the login child by a session host, or have it start one; returns the front's end of its socket."""
        ours, theirs = packet_pair()
        front_end, host_end = packet_pair()
        child, pid = session.link, session.pid
        self._selector.unregister(child)
        session.link = PacketSocket(ours, HostReport)
        session.accepted, session.uid, session.pid = True, grant.account.uid, 0
        session.since_s, session.client = wall_s(), session.login.client
        session.kept = kept
        self._selector.register(
            session.link, selectors.EVENT_READ, lambda: self._read_session(session)
        )
        ends = [theirs.detach(), host_end.detach()]
        if not kept:
            child.close()
            self.spawner.send(SpawnSession(session.number, grant), ends)
            return front_end.detach()
        try:
            child.send(Begin(), ends)
        finally:
            child.close()
        if pid:  # else the spawner is still to say which it is
            self._hosts_session(pid, session)
        return front_end.detach()

    def _hosts_session(self, pid: int, session: _Session) -> None:
        self._hosts[pid] = session
        self.metrics.sessions += 1
        self._tell_status()

    def _refuse(self, session: _Session, reason: str, penalty: str = "") -> None:
        session.judged = True
        self.log.error(f"login of {session.login.user}: {reason}")
        if session.moved_from is not None:
            self._move_judged(session, Outcome.CONTINUE, reason)
            return
        session_id = session.login.session_id
        final = self.table.judged(session_id, accepted=False, counts=True)
        self._answer(Verdict(session_id, Outcome.REFUSED, final=final, penalty=penalty), [])
        self._forget(session)

    def _forget(self, session: _Session) -> None:
        """The child's socket is of no use any more; the session may live on until it is reaped."""
        if self._sessions.pop(session.number, None) is not None:
            self._selector.unregister(session.link)
            session.link.close()

    # -- login records ---------------------------------------------------------------------------

    def _log_in(self, session: _Session, report: TerminalLogin) -> None:
        if not self.root or not TERMINAL.fullmatch(report.line):
            return
        try:
            if os.stat(f"/dev/{report.line}").st_uid != session.uid:
                raise RemoteProtocolError(
                    "not-permitted",
                    f"a login record for a terminal of somebody else: {report.line}",
                )
        except FileNotFoundError:
            return
        login = session.login
        session.lines[report.line] = report.pid
        host = login.client[0]
        self._record(RecordLogin(report.line, login.user, host, report.pid, session.uid, wall_s()))

    def _record(self, record: LoginRecord) -> None:
        """The spawner has it written: whoever may read these files can lock them, and so keep us waiting."""
        try:
            self.spawner.send(record)
        except OSError as error:
            self._complain([f"login record: {error.strerror or error}"])

    def _complain(self, complaints: list[str]) -> None:
        for complaint in complaints:
            self.log.error(complaint)

    # -- the spawner -----------------------------------------------------------------------------

    def _read_spawner(self) -> None:
        try:
            received = self.spawner.receive()
        except EOFError:
            if not self._stop:
                self.log.fatal("the spawner ended")
                self._stop, self.exit_status = True, 255
            return
        if received is None:
            return
        report, descriptors = received
        if isinstance(report, NewListener | Reloaded):
            self._reloaded(report, descriptors)
        elif isinstance(report, Spawned):
            self._spawned(report)
        elif isinstance(report, SpawnFailed):
            self._not_spawned(report.number)
        elif isinstance(report, Reaped):
            if report.pid == self._front_pid:
                self._tell_death("front", report.status)
                self._front_ended()
            elif report.pid == self._signer.pid:
                self._tell_death("signer", report.status)
                self._signer_ended()
            elif (session := self._hosts.pop(report.pid, None)) is not None:
                for record in _logouts(session):
                    self._record(record)
                self._ended(session, report.status)
                self._tell_status()

    def _tell_status(self) -> None:
        self.service.status(f"Sessions: {len(self._hosts)}")

    def _spawned(self, report: Spawned) -> None:
        if report.number == FRONT:
            self._front_pid = report.pid
            self.service.ready()
            self.metrics.front_started()
        elif report.number == SIGNER:
            self._signer.pid = report.pid
        elif report.number in self._abandoned and not report.host:
            self._abandoned.discard(report.number)
            _kill(report.pid)
        elif (session := self._sessions.get(report.number)) is not None:
            if report.host or session.kept:
                self._hosts_session(report.pid, session)
            elif not session.judged:
                session.pid = report.pid

    def _not_spawned(self, number: int) -> None:
        """A login child or session host that is not: the end of its socket tells. The front must be had."""
        self._abandoned.discard(number)
        if number == FRONT:
            self._close_front()
            self._retry_front()
        elif number == SIGNER:
            self._signer.not_started()

    def _tell_death(self, name: str, status: int) -> None:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS:
            self.log.error(f"the {name} was killed: it made a system call that it must not make")

    def _ended(self, session: _Session, status: int) -> None:
        if os.WIFSIGNALED(status):
            self.log.error(
                f"session {session.number} of {session.login.user} was killed by signal {os.WTERMSIG(status)}",
                **_fields("session-killed", session.login),
                session=session.number,
                signal=os.WTERMSIG(status),
            )
        elif session.accepted:
            self.log.info(
                f"Session {session.number} of {session.login.user} ended",
                **_fields("session-ended", session.login),
                session=session.number,
            )


def _fields(event: str, login: Login) -> Fields:
    """For programs that read the log."""
    address, port = login.client
    return {"event": event, "user": login.user, "address": address, "port": port}


def _step(login: Login) -> Step:
    """What a login that was accepted, or was partly, has done."""
    if login.method or login.proof is None:
        return Step(login.method or PUBLICKEY)
    return Step(PUBLICKEY, login.offers[login.proof.offer])


def _logouts(session: _Session) -> list[RecordLogout]:
    return [RecordLogout(line, pid, wall_s()) for line, pid in session.lines.items()]


def _ends_within(pid: int, seconds: float) -> bool:
    """Wait for the end of a process that is somebody else's child."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
