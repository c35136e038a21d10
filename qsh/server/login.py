"""The login child's judgement: does this request, on this connection, let this user in? (model: OpenSSH's auth2-pubkey.c)

It runs in a fresh process per attempt, as root (or as the one user of a qshd without root), reads the user's key files with the
user's rights only, and changes nothing. The answer to the client is the same for an unknown user, a wrong key and an account
that may not be used; only the log tells them apart.
"""

from __future__ import annotations

import contextlib
import grp
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from qsh.auth import method_chains, resume_proof, signatures, userauth
from qsh.auth.authorized_keys import Visitor
from qsh.auth.key_options import KeyOptions, merge_options
from qsh.auth.keys import PublicKey
from qsh.auth.method_chains import KEYBOARD, PASSWORD, PUBLICKEY, Chains
from qsh.clock import monotonic_s
from qsh.errors import ConfigError, KeyFormatError
from qsh.server import account as accounts
from qsh.server import session_directory, session_question
from qsh.server.key_judge import KeyJudge, describe, user_rights
from qsh.server.requests import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.account import Account
    from qsh.server.pam_login import PamLogin
    from qsh.server.requests import Login, Step
    from qsh.wire.messages import Resume

__all__ = ["Judge", "Opinion", "commands_s", "group_names"]

COMMANDS_S: Final = 10.0
"""For AuthorizedKeysCommand and the like where nothing else is said."""
NO_GRACE_S: Final = 600.0
MARGIN_S: Final = 2.0
"""The answer is still to be given, and what is left of a command to be ended."""
CHANGE_IT: Final = """\
if test -t 0; then
echo 'WARNING: Your password has expired.'
echo 'You must change your password now and login again!'
exec passwd
else echo 'Password change required but no TTY available.' >&2; exit 1; fi"""
"""Instead of everything else, for who came by key (OpenSSH's session.c: do_pwchange)."""


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
    methods: tuple[str, ...] = ()
    """What may be tried after this."""
    counts: bool = True
    """As a failure, if it is one (MaxAuthTries)."""


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
    steps: Sequence[Step] = ()
    """What the client has done before (AuthenticationMethods)."""
    pam: PamLogin | None = None
    """For methods that ask, and for the account's rules; None: there is no PAM here."""
    host: int = 0
    """Of a login that resumes: the process that listens for the terminal."""
    _keys: KeyJudge | None = None

    def judge(self) -> Opinion:
        """Never raises for anything that the peer or the user's files can contain."""
        account = accounts.lookup(self.login.user)
        options = self.options_for(self.login, account)
        self.max_attempts = options.max_auth_tries
        refusal = self._account_refusal(account, options)
        if self.login.resume is not None:
            if account is None or refusal is not None:
                self._equal_work()
                return Opinion(Outcome.REFUSED, refusal or "unknown user")
            return self._admit(self._judge_resume(self.login.resume, account, options))
        wanted = self._wanted(options)
        if isinstance(wanted, str):
            return Opinion(Outcome.REFUSED, wanted, counts=self._tries)
        method = self.login.method or PUBLICKEY
        opinion = self._judge_method(method, wanted, account, options, refusal)
        if opinion.outcome != Outcome.ACCEPTED:
            return replace(opinion, methods=tuple(wanted.can_go_on()))
        rest = wanted.after(method)
        if rest is not None:
            return replace(opinion, outcome=Outcome.PARTIAL, methods=tuple(rest.can_go_on()))
        return replace(self._admit(opinion), methods=tuple(wanted.can_go_on()))

    @property
    def _tries(self) -> bool:
        """Something was tried; a client may also just ask what it could try, as SSH's do with the method ``none``."""
        return bool(self.login.offers or self.login.method)

    def _wanted(self, options: DaemonOptions) -> Chains | str:
        """What is left to be done, the same for users that there are and are not; or why nothing can be."""
        wanted = self._chains(options)
        if isinstance(wanted, str):
            return wanted
        for step in self.steps:
            rest = wanted.after(step.method) if wanted.permits(step.method) else None
            if rest is None:
                return "the configuration has changed"
            wanted = rest
        return wanted

    def _chains(self, options: DaemonOptions) -> Chains | str:
        asks = self.pam is not None and options.use_pam
        on = {
            PUBLICKEY: options.pubkey_authentication,
            PASSWORD: asks and options.password_authentication,
            KEYBOARD: asks and options.kbd_interactive_authentication,
        }
        enabled = [method for method, is_on in on.items() if is_on]
        try:
            return method_chains.parse(options.authentication_methods, enabled)
        except ConfigError as error:
            return str(error)

    def _judge_method(
        self,
        method: str,
        wanted: Chains,
        account: Account | None,
        options: DaemonOptions,
        refusal: str | None,
    ) -> Opinion:
        if account is not None and refusal is None and method == PUBLICKEY:
            self._judge_of(account, options).read_files()
        if method == PUBLICKEY or not wanted.permits(method):
            if refusal is not None or account is None:
                self._equal_work()
                return Opinion(Outcome.REFUSED, refusal or "unknown user", counts=self._tries)
            if not wanted.permits(method):
                return Opinion(
                    Outcome.REFUSED, f"the method {method!r} is not permitted", counts=self._tries
                )
            return self._judge_keys(account, options)
        return self._judge_answers(method, account, options, refusal)

    def _judge_answers(
        self, method: str, account: Account | None, options: DaemonOptions, refusal: str | None
    ) -> Opinion:
        """Everybody is asked, and PAM is; who is not to be let in is refused as for a wrong answer."""
        assert self.pam is not None  # noqa: S101 - else the method is not permitted
        if account is not None and account.uid == 0 and options.permit_root_login != "yes":
            refusal = refusal or f"PermitRootLogin {options.permit_root_login}"
        found = refusal or (None if account is None else self._options_of_steps(account, options))
        genuine = account is not None and not isinstance(found, str)
        empty = options.permit_empty_passwords
        check = self.pam.check_password if method == PASSWORD else self.pam.converse
        reason = check(genuine=genuine, empty=empty)
        if account is None or not isinstance(found, KeyOptions):
            why = found if isinstance(found, str) else "unknown user"
            return Opinion(Outcome.REFUSED, why, counts=self.pam.counts)
        if reason is not None:
            return Opinion(Outcome.REFUSED, reason, counts=self.pam.counts)
        return Opinion(Outcome.ACCEPTED, "", (), account, options, found)

    def _options_of_steps(
        self, account: Account, options: DaemonOptions, last: KeyOptions | None = None
    ) -> KeyOptions | str:
        """What the keys of all steps permit together, or which of them is none any more."""
        found = last or KeyOptions()
        for step in self.steps:
            if not step.key:
                continue
            another = self._judge_of(account, options).permitted(step.key)
            if isinstance(another, str):
                return another
            try:
                found = merge_options(found, another)
            except KeyFormatError as error:
                return str(error)
        return found

    def _admit(self, opinion: Opinion) -> Opinion:
        """As far as the account's rules of PAM go."""
        options = opinion.options
        if opinion.outcome != Outcome.ACCEPTED or options is None:
            return opinion
        if self.pam is None or not options.use_pam:
            return opinion
        reason = self.pam.admit()
        if reason is not None:
            return Opinion(Outcome.REFUSED, reason, counts=self.pam.counts)
        if self.pam.expired:
            changed = replace(options, force_command=CHANGE_IT, disable_forwarding=True)
            return replace(opinion, options=changed)
        return opinion

    def judge_again(self) -> Opinion:
        """As :meth:`judge` for a login that was accepted: what it proved it has proved."""
        account = accounts.lookup(self.login.user)
        options = self.options_for(self.login, account)
        refusal = self._account_refusal(account, options)
        if account is None or refusal is not None:
            return Opinion(Outcome.REFUSED, refusal or "unknown user")
        proof = self.login.proof
        found: KeyOptions | str | None = self._switched_off(options)
        if (
            found is None
            and self.login.offers
            and (self.login.resume is not None or proof is not None)
        ):
            blob = self.login.offers[0 if proof is None else proof.offer]
            found = self._judge_of(account, options).permitted(blob)
        if not isinstance(found, str):
            found = self._options_of_steps(account, options, found)
        if isinstance(found, str):
            return Opinion(Outcome.REFUSED, found)
        return Opinion(Outcome.ACCEPTED, "", (), account, options, found)

    def _switched_off(self, options: DaemonOptions) -> str | None:
        """A method that let this login in, and would not any more."""
        used = {step.method for step in self.steps} | {self.login.method or PUBLICKEY}
        if self.login.resume is not None and not self.login.offers:
            used.discard(PUBLICKEY)
        for method, keyword, on in (
            (PUBLICKEY, "PubkeyAuthentication", options.pubkey_authentication),
            (PASSWORD, "PasswordAuthentication", options.password_authentication),
            (KEYBOARD, "KbdInteractiveAuthentication", options.kbd_interactive_authentication),
        ):
            if method in used and not on:
                return f"{keyword} no"
        return None

    def _account_refusal(self, account: Account | None, options: DaemonOptions) -> str | None:
        if account is None:
            return f"invalid user {self.login.user!r}"
        if self.only_uid is not None and account.uid != self.only_uid:
            return "this qshd runs without root and admits only its own user"
        return accounts.unusable(
            account, self.now, locked_counts=not options.use_pam
        ) or self._list_refusal(account, options)

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
        found = self._options_of_offer(account, options)
        if not isinstance(found, str):
            found = self._lacking(options) or found
        if isinstance(found, str):
            return Opinion(Outcome.REFUSED, found)
        if not self._is_attached(resume, account, options):
            return Opinion(Outcome.REFUSED, "no such session has this client")
        key = describe(self.login.offers[0]) if self.login.offers else ""
        return Opinion(Outcome.ACCEPTED, "", (), account, options, found, key)

    def _options_of_offer(self, account: Account, options: DaemonOptions) -> KeyOptions | str:
        """Of the login's key; one by password alone had none."""
        if not self.login.offers:
            allowed = account.uid != 0 or options.permit_root_login == "yes"
            return KeyOptions() if allowed else f"PermitRootLogin {options.permit_root_login}"
        if not options.pubkey_authentication:
            return "PubkeyAuthentication no"
        return self._judge_of(account, options).permitted(self.login.offers[0])

    def _lacking(self, options: DaemonOptions) -> str | None:
        """Why what was done for the login that is continued would not let it in here and now."""
        wanted = self._chains(options)
        if isinstance(wanted, str):
            return wanted
        for step in self.steps:
            if wanted.permits(step.method):
                rest = wanted.after(step.method)
                if rest is None:
                    return None
                wanted = rest
        return "AuthenticationMethods wants more than was done"

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
            self.host = session_question.holds(path, resume.session, resume.client, resume.ticket)
        return self.host != 0

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
            elif self._is_used(blob):
                reason = "this key has been used already"
            else:
                both = self._options_of_steps(account, options, found)
                if isinstance(both, str):
                    return Opinion(Outcome.REFUSED, both)
                name = describe(blob)
                return Opinion(Outcome.ACCEPTED, "", (), account, options, both, name)
        acceptable = tuple(
            index
            for index, blob in enumerate(self.login.offers)
            if (proof is None or index != proof.offer)
            and not isinstance(keys.permitted(blob), str)
            and not self._is_used(blob)
        )
        if acceptable:
            return Opinion(Outcome.CONTINUE, reason, acceptable)
        return Opinion(Outcome.REFUSED, reason, counts=self._tries)

    def _is_used(self, blob: bytes) -> bool:
        """By a step before: a key and all its certificates are one (OpenSSH: auth2_key_already_used)."""
        plain = PublicKey.from_blob(blob).plain
        used = [step.key for step in self.steps if step.key]
        return any(PublicKey.from_blob(each).plain == plain for each in used)

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
