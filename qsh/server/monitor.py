"""The monitor: knows which handshakes were signed, lets the spawner judge logins, keeps login records, restarts the others.

Root (or the one user of a qshd without root), one thread, no network, no QUIC, no native code, no key, nothing that can block for
long; and if it did, handshakes would go on: the signer answers the front. What the front may ask for is the table in
login_table.py; a request out of turn ends the front.

Here are its loop, its end, and who is told what. The state of what it looks after is elsewhere: front_link.py, signer_link.py,
judging.py (logins), moves.py, login_children.py and running_hosts.py (processes).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qsh.clock import monotonic_s, wall_s
from qsh.config.daemon_penalties import PenaltyRules
from qsh.errors import RemoteProtocolError
from qsh.server.front_link import STOP_S, FrontLink
from qsh.server.judging import Judging
from qsh.server.login_children import LoginChildren, Session
from qsh.server.login_report import LoginReport
from qsh.server.metrics import Gauges, Metrics
from qsh.server.metrics_socket import MetricsSocket
from qsh.server.packets import PacketSocket, raise_descriptor_limit
from qsh.server.reloading import set_level
from qsh.server.requests import (
    FRONT,
    SIGNER,
    Counts,
    Forget,
    FrontRequest,
    HeldKeys,
    Login,
    Moved,
    NewListener,
    Penalised,
    Proofs,
    Reaped,
    Reload,
    Reloaded,
    Signed,
    Spawned,
    SpawnerReport,
    SpawnFailed,
)
from qsh.server.resident import resident_bytes
from qsh.server.running_hosts import RunningHosts
from qsh.server.service import Service
from qsh.server.signer_link import SignerLink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.server.log import Log

__all__ = ["Monitor"]


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
    penalties: PenaltyRules = field(default_factory=PenaltyRules)
    metrics: Metrics = field(default_factory=lambda: Metrics(wall_s()))
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _signer: SignerLink = field(init=False)
    _front: FrontLink = field(init=False)
    _children: LoginChildren = field(init=False)
    _hosts: RunningHosts = field(init=False)
    _judging: Judging = field(init=False)
    _idle_since_s: float | None = None
    _stop: bool = False
    _reload: bool = False
    exit_status: int = 0
    _counts: Counts = field(default_factory=lambda: Counts({}, 0, 0))
    """The front's latest."""

    def __post_init__(self) -> None:
        spawner, log = self.spawner, self.log
        report = LoginReport(log, self.metrics)
        self._signer = SignerLink(spawner, self._selector, log, self)
        self._front = FrontLink(spawner, self._selector, self._signer, log, self)
        self._front.penalties.rules = self.penalties
        self._children = LoginChildren(self._selector, self._read_session)
        self._hosts = RunningHosts(spawner, self.service, self.metrics, report, log, root=self.root)
        self._judging = Judging(
            self._children,
            self._hosts,
            spawner,
            self._front,
            report,
            log,
            self.grace_s,
            self.max_attempts,
        )

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
        pids = {"monitor": os.getpid(), "front": self._front.pid, "signer": self._signer.pid}
        memory = {name: size for name, pid in pids.items() if (size := resident_bytes(pid))}
        counts = self._counts
        return self.metrics.render(
            Gauges(
                len(self._hosts),
                len(self._children.judging),
                counts.unauthenticated,
                counts.authenticated,
                memory,
                counts.penalised,
            )
        )

    def _turn(self, timeout_s: float | None) -> None:
        self._want_writing(self.spawner, self._read_spawner)
        if self._front.link is not None:
            self._want_writing(self._front.link, self._front.read)
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
            self._front.send(report, descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        self.service.ready()
        for complaint in report.errors:
            self.log.error(complaint)
        if report.rules is None:
            self.log.error("the old configuration stays in force")
            return
        self._judging.renew(report.rules.grace_s, report.rules.max_attempts)
        self.service.keep(report.rules.listening)
        self._front.penalties.rules = report.rules.limits.penalties
        set_level(self.log, report.rules.level)
        self.log.info("the configuration was read again")
        self._front.send(report.rules)
        if report.other_keys:
            self._signer.renew()

    def _end(self) -> None:
        """The front sees its links end, tells its clients and goes; if it does not go, it is killed."""
        self.service.stopping()
        self._front.close()
        self._signer.close()
        self._front.wait()
        self.spawner.close()
        self._hosts.log_out_all(monotonic_s() + STOP_S)

    # -- time ------------------------------------------------------------------------------------

    def _timeout(self) -> float | None:
        due = (self._front.due_s, self._signer.due_s, self._idle_end(), self.service.deadline_s)
        pending = [*self._judging.deadlines_s, *(when for when in due if when is not None)]
        return max(0.0, min(pending) - monotonic_s()) if pending else None

    def _expire(self) -> None:
        now = monotonic_s()
        self.service.alive(now)
        self._judging.expire(now)
        self._front.expire(now)
        self._signer.expire(now)
        if (end_s := self._idle_end()) is not None and now >= end_s:
            self.log.info(f"nobody has been logged in for {self.idle_s:g} s")
            self._stop = True

    def _idle_end(self) -> float | None:
        """When to end for want of sessions."""
        if not self.idle_s or len(self._hosts) or self._children.sessions:
            self._idle_since_s = None
            return None
        if self._idle_since_s is None:
            self._idle_since_s = monotonic_s()
        return self._idle_since_s + self.idle_s

    # -- the front -------------------------------------------------------------------------------

    def asked(self, request: FrontRequest) -> None:
        """By the front."""
        if isinstance(request, Login):
            self._signer.read()  # it has told us of this session id before the front could use it
            self._judging.login(request)
        elif isinstance(request, Forget):
            self._judging.forget(request)
        elif isinstance(request, Moved):
            self._judging.moved(request)
        elif isinstance(request, Penalised):
            self._front.penalties.keep(request, monotonic_s())
        elif isinstance(request, Counts):
            self._counts = request
            self.metrics.front_counts(request.attempts, request.penalties)
        else:
            used = self._judging.prove(request.session_id)
            self._signer.prove(request.session_id, used)

    def front_gone(self) -> None:
        """Its session ids go with it."""
        self._front.left += self._judging.front_gone()

    def _read_session(self, session: Session) -> None:
        self._judging.read(session)

    # -- the signer ------------------------------------------------------------------------------

    def keys_held(self, before: HeldKeys | None, held: HeldKeys) -> None:
        """From now on there can be a front."""
        self._judging.hold(held)
        if before is None:
            self.keep(held.lasting)
            self._front.start()
        elif (before.keys, before.certificates) != (held.keys, held.certificates):
            self.log.info("the host keys or their certificates are others now")
            self._front.identify(held)

    def signed(self, report: Signed) -> None:
        """A session id that may ask for a login."""
        try:
            self._judging.sign(report)
        except RemoteProtocolError as error:  # it opens no login: the table knows it as it was
            self.log.error(str(error))
        else:
            self.metrics.signed += 1

    def proved(self, proofs: Proofs) -> None:
        """For the front that asked."""
        self._front.send(proofs)

    # -- the spawner -----------------------------------------------------------------------------

    def _read_spawner(self) -> None:
        try:
            received = self.spawner.receive()
        except EOFError:
            if not self._stop:
                self._fail("the spawner ended")
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
            self._reaped(report)

    def _spawned(self, report: Spawned) -> None:
        if report.number == FRONT:
            self._front.pid = report.pid
            self.service.ready()
            self.metrics.front_started()
        elif report.number == SIGNER:
            self._signer.pid = report.pid
        elif report.host:
            session = self._children.sessions.get(report.number)
            if session is not None:
                self._hosts.begin(report.pid, session)
        else:
            session = self._children.spawned(report.number, report.pid)
            if session is not None and session.kept:
                self._hosts.begin(report.pid, session)

    def _not_spawned(self, number: int) -> None:
        """A login child or session host that is not: the end of its socket tells. The front must be had."""
        self._children.abandoned.discard(number)
        if number == FRONT:
            self._front.not_started()
        elif number == SIGNER:
            self._signer.not_started()

    def _reaped(self, report: Reaped) -> None:
        if report.pid == self._front.pid:
            self._tell_death("front", report.status)
            self._front_ended()
        elif report.pid == self._signer.pid:
            self._tell_death("signer", report.status)
            self._signer_ended()
        else:
            self._hosts.reaped(report.pid, report.status)

    def _front_ended(self) -> None:
        if not self._front.ended(stopping=self._stop):
            self._fail("the front ended as soon as it was started; see the lines above")

    def _signer_ended(self) -> None:
        if not self._signer.ended(stopping=self._stop):
            self._fail("the signer ended as soon as it was started; see the lines above")

    def _fail(self, reason: str) -> None:
        self.log.fatal(reason)
        self._stop, self.exit_status = True, 255

    def _tell_death(self, name: str, status: int) -> None:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS:
            self.log.error(f"the {name} was killed: it made a system call that it must not make")
