"""The login child's judgement: does this request, on this connection, let this user in? (model: OpenSSH's auth2-pubkey.c)

It runs in a fresh process per attempt, as root (or as the one user of a qshd without root), reads the user's key files with the
user's rights only, and changes nothing. The answer to the client is the same for an unknown user, a wrong key and an account
that may not be used; only the log tells them apart.
"""

from __future__ import annotations

import contextlib
import grp
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qsh.auth import resume_proof, signatures, userauth
from qsh.auth.authorized_keys import Visitor
from qsh.auth.keys import PublicKey
from qsh.clock import monotonic_s
from qsh.errors import KeyFormatError
from qsh.server import account as accounts
from qsh.server import session_directory, session_question
from qsh.server.key_judge import KeyJudge, describe, user_rights
from qsh.server.requests import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.auth.authorized_keys import KeyOptions
    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.account import Account
    from qsh.server.requests import Login
    from qsh.wire.messages import Resume

__all__ = ["Judge", "Opinion", "commands_s", "group_names"]

COMMANDS_S: Final = 10.0
"""For AuthorizedKeysCommand and the like where nothing else is said."""
NO_GRACE_S: Final = 600.0
MARGIN_S: Final = 2.0
"""The answer is still to be given, and what is left of a command to be ended."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """The outcome; with ``accepted`` come the account, its options and the key's."""

    outcome: str
    reason: str = ""
    acceptable: tuple[int, ...] = ()
    account: Account | None = None
    options: DaemonOptions | None = None
    key_options: KeyOptions | None = None
    key: str = ""


@dataclass
class Judge:
    """Judges one Login. ``options_for`` applies the configuration's Match blocks to a user."""

    login: Login
    host_key: bytes
    options_for: Callable[[Login, Account | None], DaemonOptions]
    now: float
    only_uid: int | None = None
    """Without root: the one user that may be admitted."""
    resumes: int | None = None
    """The uid in the record of a login that resumes, which the monitor has opened."""
    max_attempts: int | None = None
    """MaxAuthTries as it holds here, once it was judged."""
    complaints: list[str] = field(default_factory=list)
    """For the log: files that could not be trusted."""
    name_of: Callable[[str], str] = lambda address: address
    """The host name of the client's address (UseDNS)."""
    deadline_s: float = field(default_factory=lambda: monotonic_s() + COMMANDS_S)
    """By when commands that are asked about keys must have answered."""
    _keys: KeyJudge | None = None

    def judge(self) -> Opinion:
        """Never raises for anything that the peer or the user's files can contain."""
        account = accounts.lookup(self.login.user)
        options = self.options_for(self.login, account)
        self.max_attempts = options.max_auth_tries
        refusal = self._account_refusal(account, options)
        if account is not None and refusal is None:
            self._judge_of(account, options).read_files()
        if refusal is not None or account is None:
            self._equal_work()
            return Opinion(Outcome.REFUSED, refusal or "unknown user")
        if self.login.resume is not None:
            return self._judge_resume(self.login.resume, account, options)
        return self._judge_keys(account, options)

    def judge_again(self) -> Opinion:
        """As :meth:`judge` for a login that was accepted: what it proved it has proved."""
        account = accounts.lookup(self.login.user)
        options = self.options_for(self.login, account)
        refusal = self._account_refusal(account, options)
        if account is None or refusal is not None:
            return Opinion(Outcome.REFUSED, refusal or "unknown user")
        proof = self.login.proof
        blob = self.login.offers[
            0 if self.login.resume is not None or proof is None else proof.offer
        ]
        found = self._judge_of(account, options).permitted(blob)
        if isinstance(found, str):
            return Opinion(Outcome.REFUSED, found)
        return Opinion(Outcome.ACCEPTED, "", (), account, options, found)

    def _account_refusal(self, account: Account | None, options: DaemonOptions) -> str | None:
        if account is None:
            return f"invalid user {self.login.user!r}"
        if self.only_uid is not None and account.uid != self.only_uid:
            return "this qshd runs without root and admits only its own user"
        refusal = accounts.unusable(
            account, self.now, locked_counts=not options.use_pam
        ) or self._list_refusal(account, options)
        if refusal is None and not options.pubkey_authentication:
            return "PubkeyAuthentication no"
        return refusal

    def _list_refusal(self, account: Account, options: DaemonOptions) -> str | None:
        """AllowUsers, DenyUsers, AllowGroups, DenyGroups in sshd's order (auth.c: allowed_user)."""
        address = self.login.client[0]
        name = self.name_of(address)
        host = "" if name == address else name
        return options.user_refusal(account.name, group_names(account), address, host)

    def _judge_resume(self, resume: Resume, account: Account, options: DaemonOptions) -> Opinion:
        """As a login with the key of the one that is continued, whose proof is this one."""
        if not options.resume:
            return Opinion(Outcome.REFUSED, "Resume no")
        if self.resumes != account.uid:
            return Opinion(Outcome.REFUSED, "the record is none of this user's")
        if not self._resume_holds(resume):
            return Opinion(Outcome.REFUSED, "the signature is wrong")
        blob = self.login.offers[0]
        found = self._judge_of(account, options).permitted(blob)
        if isinstance(found, str):
            return Opinion(Outcome.REFUSED, found)
        if not self._is_attached(resume, account, options):
            return Opinion(Outcome.REFUSED, "no such session has this client")
        return Opinion(Outcome.ACCEPTED, "", (), account, options, found, describe(blob))

    def _resume_holds(self, resume: Resume) -> bool:
        data = resume_proof.resume_data(
            self.login.session_id,
            self.login.user,
            resume.record,
            resume.session,
            resume.client,
            resume.ticket,
        )
        try:
            key = PublicKey.from_blob(resume_proof.public_blob(resume.key))
        except KeyFormatError:
            return False
        return signatures.verify(key, resume_proof.signature_blob(resume.signature), data)

    def _is_attached(self, resume: Resume, account: Account, options: DaemonOptions) -> bool:
        """The terminal still runs, and knows the client. Only its session host can say so, which is the user's: who lies there
        gives a right to a key that the monitor has sealed for the same user, and to nobody else.
        """
        path = session_directory.path_of(
            account, options.session_directory, root=self.only_uid is None
        )
        with user_rights(account):
            return session_question.holds(path, resume.session, resume.client, resume.ticket)

    def _judge_keys(self, account: Account, options: DaemonOptions) -> Opinion:
        proof, reason = self.login.proof, "no key of those offered is authorized"
        keys = self._judge_of(account, options)
        if proof is not None and proof.offer < len(self.login.offers):
            blob = self.login.offers[proof.offer]
            found = keys.permitted(blob)
            if isinstance(found, str):
                reason = found
            elif refusal := self._proof_refusal(keys, blob, found):
                reason = refusal
            else:
                name = describe(blob)
                return Opinion(Outcome.ACCEPTED, "", (), account, options, found, name)
        acceptable = tuple(
            index
            for index, blob in enumerate(self.login.offers)
            if (proof is None or index != proof.offer) and not isinstance(keys.permitted(blob), str)
        )
        if acceptable:
            return Opinion(Outcome.CONTINUE, reason, acceptable)
        return Opinion(Outcome.REFUSED, reason)

    def _judge_of(self, account: Account, options: DaemonOptions) -> KeyJudge:
        if self._keys is None:
            address = self.login.client[0]
            visitor = Visitor(account.name, address, self.name_of(address))
            self._keys = KeyJudge(
                account, options, visitor, self.now, self.deadline_s, self.complaints
            )
        return self._keys

    def _proof_refusal(self, keys: KeyJudge, blob: bytes, key_options: KeyOptions) -> str | None:
        proof = self.login.proof
        if proof is None:
            return "nothing is proven"
        data = userauth.signed_data(
            self.login.session_id, self.login.user, proof.algorithm, blob, self.host_key
        )
        return keys.proof_refusal(proof, blob, key_options, data)

    def _equal_work(self) -> None:
        """What a known user's wrong key would cost, so that time tells nothing."""
        for blob in self.login.offers:
            with contextlib.suppress(KeyFormatError):
                PublicKey.from_blob(blob)


def commands_s(grace_s: float) -> float:
    """How long commands may take that are asked about keys: the monitor ends the login child after ``grace_s`` (0: an hour)."""
    return max(grace_s - MARGIN_S, grace_s / 2) if grace_s else NO_GRACE_S


def group_names(account: Account) -> tuple[str, ...]:
    """Names of all the account's groups."""
    names = []
    for gid in account.groups:
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(gid).gr_name)
    return tuple(names)
