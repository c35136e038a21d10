"""Session hosts that run, by process: how many there are, their login records, how they end."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from qsh.clock import monotonic_s, wall_s
from qsh.errors import RemoteProtocolError
from qsh.server import login_records
from qsh.server.requests import RecordLogin, RecordLogout

if TYPE_CHECKING:
    from qsh.server.log import Log
    from qsh.server.login_children import Session
    from qsh.server.login_report import LoginReport
    from qsh.server.metrics import Metrics
    from qsh.server.packets import PacketSocket
    from qsh.server.requests import Judgement, LoginRecord, SpawnerReport, TerminalLogin
    from qsh.server.service import Service

__all__ = ["RunningHosts"]

TERMINAL: Final = re.compile(r"pts/[0-9]{1,9}")


class RunningHosts:
    """``root``: login records are written."""

    def __init__(
        self,
        spawner: PacketSocket[SpawnerReport],
        service: Service,
        metrics: Metrics,
        report: LoginReport,
        log: Log,
        *,
        root: bool,
    ) -> None:
        self._spawner, self._service, self._metrics = spawner, service, metrics
        self._report, self._log = report, log
        self.root = root
        self._hosts: dict[int, Session] = {}

    def __len__(self) -> int:
        return len(self._hosts)

    def begin(self, pid: int, session: Session) -> None:
        """Of a process that is a session host or the parent of one."""
        self._hosts[pid] = session
        self._metrics.sessions += 1
        self._tell_status()

    def get(self, pid: int) -> Session | None:
        """Of a process that is one."""
        return self._hosts.get(pid)

    def orphans(self, user: str) -> dict[int, bytes]:
        """The rights of this user's whose front has ended."""
        found = self._hosts.items()
        return {pid: s.rights for pid, s in found if s.orphan and s.login.user == user}

    def may_adopt(self, judgement: Judgement, user: str) -> bool:
        """Whether the host that a login child has chosen is still to be had, by this user, with these rights."""
        return self.orphans(user).get(judgement.adopts) == judgement.rights

    def reaped(self, pid: int, status: int) -> None:
        """If it was one."""
        session = self._hosts.pop(pid, None)
        if session is None:
            return
        for record in _logouts(session):
            self._record(record)
        self._report.ended(session, status)
        self._tell_status()

    def _tell_status(self) -> None:
        self._service.status(f"Sessions: {len(self._hosts)}")

    def log_in(self, session: Session, report: TerminalLogin) -> None:
        """It has a terminal. Raises RemoteProtocolError if that is somebody else's."""
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
            self._spawner.send(record)
        except OSError as error:
            self._log.error(f"login record: {error.strerror or error}")

    def log_out_all(self, until_s: float) -> None:
        """At the end of qshd: nobody else is served any more, and the spawner is gone."""
        for session in self._hosts.values():
            for record in _logouts(session) if monotonic_s() < until_s else ():
                for complaint in login_records.write(record):
                    self._log.error(complaint)


def _logouts(session: Session) -> list[RecordLogout]:
    return [RecordLogout(line, pid, wall_s()) for line, pid in session.lines.items()]
