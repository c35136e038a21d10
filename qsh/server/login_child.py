"""The login child: one login attempt, from the request to the judgement, as root (docs/architecture.md 2.1).

A fresh process of the spawner's for each attempt. What it decides by is login.py; here is what it is made of and what it says.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from qsh.clock import monotonic_s, wall_s
from qsh.server import adoption, auth_info, login_records, pam, remote_name
from qsh.server.dialogue import Dialogue
from qsh.server.login import Judge, Opinion, commands_s, group_names
from qsh.server.moved_login import judge_move
from qsh.server.packets import PacketSocket
from qsh.server.pam_login import PamLogin
from qsh.server.requests import Begin, Grant, HostReport, Judgement, Outcome
from qsh.server.session_rules import PLAIN_KEY

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from qsh.config.daemon_options import DaemonConfig, DaemonOptions
    from qsh.server.account import Account
    from qsh.server.log import Log
    from qsh.server.requests import Address, Login, SpawnLogin, Step

__all__ = ["Kept", "LoginChild"]


class Kept(NamedTuple):
    """A login that was accepted and whose PAM session is open."""

    pam: PamLogin
    grant: Grant
    monitor: PacketSocket[Begin]


@dataclass
class LoginChild:
    """``generation``: which reading of the configuration ``config`` is."""

    config: DaemonConfig
    generation: int
    log: Log
    _names: dict[str, str] = field(default_factory=dict)
    """Of addresses that were looked up."""

    def judge(
        self,
        request: SpawnLogin,
        to_monitor: socket.socket,
        to_front: socket.socket | None = None,
    ) -> Kept | None:
        """Tell the monitor what is found; returns what is to be kept."""
        root = os.geteuid() == 0
        if request.moved_from is not None:
            self._judge_move(request, request.moved_from, to_monitor)
            return None
        dialogue = None if to_front is None else Dialogue(to_front)
        pam_login = self._pam_login(request.login, dialogue)
        judge = Judge(
            request.login,
            request.host_key,
            self._options_for,
            wall_s(),
            None if root else os.geteuid(),
            request.resumes,
            name_of=self._name_of,
            deadline_s=monotonic_s() + commands_s(self.config.options.login_grace_time),
            steps=request.steps,
            pam=pam_login,
        )
        opinion = judge.judge()
        for complaint in judge.complaints:
            self.log.info(complaint)
        grant = self._grant(request.login, request.steps, opinion)
        rights = b"" if grant is None else adoption.rights_of(grant)
        adopts = adoption.choose(request.orphans, judge.host, rights) if rights else 0
        if pam_login is not None and grant is not None and not adopts:
            opinion, grant = self._open(pam_login, opinion, grant)
        if dialogue is not None:
            dialogue.close()
        monitor: PacketSocket[Any] = PacketSocket(to_monitor, Begin)
        keeps = pam_login is not None and pam_login.opened
        told = [] if pam_login is None or keeps or not pam_login.message else [pam_login.message]
        monitor.send(
            Judgement(
                opinion.outcome,
                list(opinion.acceptable),
                grant if grant is None else msgspec.structs.replace(grant, environment=None),
                opinion.reason,
                opinion.key,
                max_attempts=judge.max_attempts,
                resumable=opinion.options is not None and opinion.options.resume,
                methods=list(opinion.methods),
                counts=opinion.counts,
                keeps=keeps,
                notices=told,
                rights=rights,
                adopts=adopts,
            )
        )
        if keeps and pam_login is not None and grant is not None:
            return Kept(pam_login, grant, monitor)
        return None

    @property
    def has_pam(self) -> bool:
        """So it may become a session's keeper."""
        return self.config.options.use_pam and pam.is_there()

    def _pam_login(self, login: Login, dialogue: Dialogue | None) -> PamLogin | None:
        options = self.config.options
        if not self.has_pam:
            return None
        service = pam.service_of(options.pam_service_name)
        return PamLogin(login, service, self._name_of(login.client[0]), dialogue)

    def _open(
        self, login: PamLogin, opinion: Opinion, grant: Grant
    ) -> tuple[Opinion, Grant | None]:
        """The PAM session of a login that was accepted, with what it gives to the session; or the refusal."""
        reason = login.open(grant.account)
        if reason is not None:
            login.close()
            return Opinion(Outcome.REFUSED, reason, methods=opinion.methods), None
        groups = tuple(os.getgroups())
        account = grant.account
        if set(groups) != set(account.groups):  # pam_group
            account = replace(account, groups=groups)
        message, environment = login.message, login.environment()
        return opinion, msgspec.structs.replace(
            grant, account=account, environment=environment, message=message
        )

    def _grant(self, login: Login, steps: Sequence[Step], opinion: Opinion) -> Grant | None:
        grant = grant_of(login, opinion, self.config.options, read_records=os.geteuid() == 0)
        if grant is None:
            return None
        exposed = opinion.options is not None and opinion.options.expose_auth_info
        return msgspec.structs.replace(
            grant,
            generation=self.generation,
            auth_info=auth_info.describe(login, steps) if exposed else "",
        )

    def _judge_move(self, request: SpawnLogin, before: Address, to_monitor: socket.socket) -> None:
        """A login that was accepted elsewhere."""
        only = None if os.geteuid() == 0 else os.geteuid()

        def judge_at(client: Address) -> Judge:
            login = msgspec.structs.replace(request.login, client=client)
            return Judge(
                login,
                request.host_key,
                self._options_for,
                request.then,
                only,
                name_of=self._name_of,
                steps=request.steps,
            )

        opinion = judge_move(judge_at, before, request.login.client)
        monitor: PacketSocket[Any] = PacketSocket(to_monitor, HostReport)
        monitor.send(Judgement(opinion.outcome, reason=opinion.reason))

    def _name_of(self, address: str) -> str:
        """In a login child, which may wait for a name server."""
        if not self.config.options.use_dns:
            return address
        if address not in self._names:
            found = remote_name.look_up(address)
            if found.reason:
                self.log.info(found.reason)
            self._names[address] = found.name
        return self._names[address]

    def _options_for(self, login: Login, account: Account | None) -> DaemonOptions:
        if not self.config.settings:
            return self.config.options  # no Match: nothing of what follows has to be known
        return self.config.for_connection(
            user=login.user,
            groups=group_names(account) if account is not None else (),
            host=self._name_of(login.client[0]),
            address=login.client[0],
            local_address=login.server[0],
            local_port=login.server[1],
        )


def grant_of(
    login: Login, opinion: Opinion, configuration: DaemonOptions, *, read_records: bool
) -> Grant | None:
    """What the session host of an accepted login needs; None if it was not accepted."""
    account = opinion.account
    if (
        opinion.outcome != Outcome.ACCEPTED
        or account is None
        or opinion.options is None
        or opinion.key_options is None
    ):
        return None
    last = login_records.read_last_login(account.uid) if read_records else None
    options = None if opinion.options == configuration else opinion.options
    key = None if opinion.key_options == PLAIN_KEY else opinion.key_options
    return Grant(account, options, key, login.client, login.server, last)
