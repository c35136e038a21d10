"""The login child's judgement: does this request, on this connection, let this user in? (model: OpenSSH's auth2-pubkey.c)

It runs in a fresh process per attempt, as root (or as the one user of a qshd without root), reads the user's key files with the
user's rights only, and changes nothing. The answer to the client is the same for an unknown user, a wrong key and an account
that may not be used; only the log tells them apart.
"""

from __future__ import annotations

import contextlib
import grp
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qsh.auth import authorized_keys, resume_proof, signatures, userauth
from qsh.auth.keys import PublicKey
from qsh.errors import KeyFormatError
from qsh.server import account as accounts
from qsh.server import safe_files, session_directory, session_question
from qsh.server.requests import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qsh.auth.authorized_keys import KeyOptions
    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.account import Account
    from qsh.server.requests import Login
    from qsh.wire.messages import Resume

__all__ = ["Judge", "Opinion", "group_names"]

MAX_KEY_FILE: Final = 4 * 1024 * 1024
"""Bytes of an authorized_keys file that are read."""
FORCED_ONLY: Final = "forced-commands-only"


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
    complaints: list[str] = field(default_factory=list)
    """For the log: files that could not be trusted."""
    _files: list[tuple[str, str]] = field(default_factory=list)

    def judge(self) -> Opinion:
        """Never raises for anything that the peer or the user's files can contain."""
        account = accounts.lookup(self.login.user)
        options = self.options_for(self.login, account)
        refusal = self._account_refusal(account, options)
        if account is not None and refusal is None:
            self._files = list(self._key_files(account, options))
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
        self._files = list(self._key_files(account, options))
        proof = self.login.proof
        blob = self.login.offers[
            0 if self.login.resume is not None or proof is None else proof.offer
        ]
        found = self._permitted(blob, account, options)
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
        ) or list_refusal(account, options, self.login.client[0])
        if refusal is None and not options.pubkey_authentication:
            return "PubkeyAuthentication no"
        return refusal

    def _judge_resume(self, resume: Resume, account: Account, options: DaemonOptions) -> Opinion:
        """As a login with the key of the one that is continued, whose proof is this one."""
        if not options.resume:
            return Opinion(Outcome.REFUSED, "Resume no")
        if self.resumes != account.uid:
            return Opinion(Outcome.REFUSED, "the record is none of this user's")
        if not self._resume_holds(resume):
            return Opinion(Outcome.REFUSED, "the signature is wrong")
        blob = self.login.offers[0]
        found = self._permitted(blob, account, options)
        if isinstance(found, str):
            return Opinion(Outcome.REFUSED, found)
        if not self._is_attached(resume, account, options):
            return Opinion(Outcome.REFUSED, "no such session has this client")
        return Opinion(Outcome.ACCEPTED, "", (), account, options, found, _describe(blob))

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
        with _user_rights(account):
            return session_question.holds(path, resume.session, resume.client, resume.ticket)

    def _judge_keys(self, account: Account, options: DaemonOptions) -> Opinion:
        proof, reason = self.login.proof, "no key of those offered is authorized"
        if proof is not None and proof.offer < len(self.login.offers):
            blob = self.login.offers[proof.offer]
            found = self._permitted(blob, account, options)
            if isinstance(found, str):
                reason = found
            elif not self._proof_holds(blob, found):
                reason = "the signature is wrong"
            else:
                name = _describe(blob)
                return Opinion(Outcome.ACCEPTED, "", (), account, options, found, name)
        acceptable = tuple(
            index
            for index, blob in enumerate(self.login.offers)
            if (proof is None or index != proof.offer)
            and not isinstance(self._permitted(blob, account, options), str)
        )
        if acceptable:
            return Opinion(Outcome.CONTINUE, reason, acceptable)
        return Opinion(Outcome.REFUSED, reason)

    def _permitted(self, blob: bytes, account: Account, options: DaemonOptions) -> KeyOptions | str:
        """The options that come with the key, or why it does not count."""
        try:
            key = PublicKey.from_blob(blob)
        except KeyFormatError as error:
            return f"bad key: {error}"
        if account.uid == 0 and options.permit_root_login == "no":
            return "PermitRootLogin no"
        address = self.login.client[0]
        visitor = authorized_keys.Visitor(account.name, address, address)
        reasons = [f"key {key.fingerprint()} is not authorized"]
        for name, text in self._files:
            grant = authorized_keys.authorize(text, key, visitor, self.now)
            if grant.options is None:
                reasons += [f"{name}: {reason}" for reason in grant.reasons]
            elif (
                account.uid == 0
                and options.permit_root_login == FORCED_ONLY
                and grant.options.command is None
            ):
                reasons.append(f"{name}: PermitRootLogin {FORCED_ONLY}")
            else:
                return grant.options
        return "; ".join(reasons)

    def _proof_holds(self, blob: bytes, key_options: KeyOptions) -> bool:
        proof = self.login.proof
        if proof is None:
            return False
        key = PublicKey.from_blob(blob)
        if proof.algorithm not in userauth.request_algorithms(key.type):
            return False
        data = userauth.signed_data(
            self.login.session_id, self.login.user, proof.algorithm, blob, self.host_key
        )
        if not key.is_security_key:
            return signatures.verify(key, proof.signature, data, proof.algorithm)
        details = signatures.verify_sk(key, proof.signature, data, proof.algorithm)
        return (
            details is not None
            and details.refusal(
                touch_required=key_options.touch_required,
                verify_required=key_options.verify_required,
            )
            is None
        )

    def _equal_work(self) -> None:
        """What a known user's wrong key would cost, so that time tells nothing."""
        for blob in self.login.offers:
            with contextlib.suppress(KeyFormatError):
                PublicKey.from_blob(blob)

    def _key_files(self, account: Account, options: DaemonOptions) -> Iterator[tuple[str, str]]:
        with _user_rights(account):
            for path in options.authorized_keys_paths(account.name, account.uid, account.home):
                checked = safe_files.read_checked(
                    path, account.uid, account.home, strict=options.strict_modes, limit=MAX_KEY_FILE
                )
                if checked.text is not None:
                    yield path, checked.text
                elif checked.reason:
                    self.complaints.append(checked.reason)


def list_refusal(account: Account, options: DaemonOptions, address: str) -> str | None:
    """AllowUsers, DenyUsers, AllowGroups, DenyGroups in sshd's order (auth.c: allowed_user)."""
    return options.user_refusal(account.name, group_names(account), address)


def group_names(account: Account) -> tuple[str, ...]:
    """Names of all the account's groups."""
    names = []
    for gid in account.groups:
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(gid).gr_name)
    return tuple(names)


def _describe(blob: bytes) -> str:
    key = PublicKey.from_blob(blob)
    return f"{key.label} {key.fingerprint()}"


@contextlib.contextmanager
def _user_rights(account: Account) -> Iterator[None]:
    """Effective ids of the user while its files are read (uidswap.c: temporarily_use_uid)."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups(list(account.groups))
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
