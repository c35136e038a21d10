"""What the log and the metrics are told of logins and of clients that move, in the words of sshd's log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsh.auth.method_chains import PUBLICKEY, log_name
from qsh.server.requests import Outcome

if TYPE_CHECKING:
    from qsh.server.log import Fields, Log
    from qsh.server.login_children import Session
    from qsh.server.metrics import Metrics
    from qsh.server.requests import Address, Judgement, Login

__all__ = ["LoginReport"]

LEFT: Final = "the client did not wait for the judgement of its answers"


class LoginReport:
    """One line for each thing that happened to a login."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics

    def timed_out(self, login: Login) -> None:
        """The login child did not answer within LoginGraceTime."""
        self._log.info(
            f"Timeout before authentication for {login.client[0]} port {login.client[1]}",
            **_fields("login-timeout", login),
        )

    def left(self, login: Login) -> None:
        """Who does not wait for a late answer, which a wrong password's is, would try passwords without a trace."""
        method = log_name(login.method)
        self._metrics.login(method, Outcome.REFUSED)
        self._log.info(
            f"Failed {method} for {login.user} {_where(login)}",
            **_fields("login-failed", login),
            method=method,
            reason=LEFT,
        )
        self._log.info(f"{login.user} {_where(login)}: {LEFT}")

    def counted(self, login: Login, outcome: str) -> None:
        """For the metrics."""
        self._metrics.login(_method(login), outcome)

    def accepted(self, login: Login, judgement: Judgement, session: Session) -> None:
        """A session begins, or goes on."""
        method = _method(login)
        key = f": {judgement.key}" if judgement.key else ""
        self._log.info(
            f"Accepted {method} for {login.user} {_where(login)}{key}",
            **_fields("login-accepted", login),
            method=method,
            key=judgement.key,
            session=session.number,
        )

    def partly(self, login: Login, judgement: Judgement) -> None:
        """More is wanted (AuthenticationMethods)."""
        method = _method(login)
        self._log.info(
            f"Partial {method} for {login.user} {_where(login)}",
            **_fields("login-partial", login),
            method=method,
            key=judgement.key,
        )

    def failed(self, login: Login, judgement: Judgement, penalty: str) -> None:
        """It counts as a failure."""
        method = _method(login)
        invalid = "invalid user " if penalty == "invaliduser" else ""
        self._log.info(
            f"Failed {method} for {invalid}{login.user} {_where(login)}",
            **_fields("login-failed", login),
            method=method,
            reason=judgement.reason,
        )
        # why a key is not taken is told to those who look for it; why an account is not, to everybody, as sshd does
        level = self._log.verbose if judgement.reason.startswith("key ") else self._log.info
        level(f"{login.user} {_where(login)}: {judgement.reason}")

    def moved(self, login: Login, before: Address, outcome: str, reason: str) -> None:
        """Told either way: it is where a login came from, later."""
        what = f"{login.user} from {before[0]} port {before[1]} qsh: moved to {login.client[0]} port {login.client[1]}"
        if outcome == Outcome.REFUSED:
            self._log.info(f"Refused {what}: {reason}", **_fields("move-refused", login))
        elif outcome == Outcome.ACCEPTED:
            self._log.info(what, **_fields("moved", login))

    def ended(self, session: Session, status: int) -> None:
        """A session host, or its keeper."""
        if os.WIFSIGNALED(status):
            self._log.error(
                f"session {session.number} of {session.login.user} was killed by signal {os.WTERMSIG(status)}",
                **_fields("session-killed", session.login),
                session=session.number,
                signal=os.WTERMSIG(status),
            )
        elif session.accepted:
            self._log.info(
                f"Session {session.number} of {session.login.user} ended",
                **_fields("session-ended", session.login),
                session=session.number,
            )


def _method(login: Login) -> str:
    return "resume" if login.resume is not None else log_name(login.method or PUBLICKEY)


def _where(login: Login) -> str:
    return f"from {login.client[0]} port {login.client[1]} qsh"


def _fields(event: str, login: Login) -> Fields:
    """For programs that read the log."""
    address, port = login.client
    return {"event": event, "user": login.user, "address": address, "port": port}
