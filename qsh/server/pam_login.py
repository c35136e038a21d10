"""One login as PAM sees it, in the login child: questions, the account's rules, a new password, the session (model: OpenSSH's
auth-pam.c).

A user that is not to be let in (unknown, listed in DenyUsers, root) is asked like everybody, and PAM hears nonsense instead of
the answers: words and time are those of a wrong password.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Final

from qsh.errors import PamError, RemoteProtocolError
from qsh.server import pam
from qsh.server.pam import Pam, wipe
from qsh.wire.messages import Prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.server.account import Account
    from qsh.server.dialogue import Dialogue
    from qsh.server.pam import Converse, Said
    from qsh.server.requests import Login

__all__ = ["ABANDONED", "PamLogin"]

ABANDONED: Final = "the client went on with something else"
NOT_GENUINE: Final = "an empty password, or none that was looked at"
NO_NAME: Final = "NOUSER"
"""What PAM is asked about when the name cannot be one."""
NONSENSE: Final = b"\b\n\r\x7fINCORRECT"
"""sshd's: no password can be this."""
TTY: Final = "ssh"
"""sshd's word where rules (pam_access, pam_time, pam_securetty) want a terminal's name."""
MAX_TEXT: Final = 4096
MAX_MESSAGE: Final = 16 * 1024


class PamLogin:
    """Every method returns why it failed, for the log, or None."""

    def __init__(
        self, login: Login, service: str, host_name: str, dialogue: Dialogue | None
    ) -> None:
        self._login, self._service, self._host_name = login, service, host_name
        self._dialogue = dialogue
        self._pam: Pam | None = None
        self._answer: Converse = self._collect
        self._genuine = True
        self._abandoned = False
        self._null_flag = 0
        self._told: list[str] = []
        self.authenticated = False
        self.expired = False
        """The password, and the user could not be asked for another: it is to be changed before anything else."""
        self.opened = False

    @property
    def user(self) -> str:
        """Whose login it is."""
        return self._login.user

    @property
    def counts(self) -> bool:
        """A refusal is a failure, unless the client went on with something else before it answered anything."""
        return not self._abandoned or self._dialogue is None or self._dialogue.answered

    @property
    def message(self) -> str:
        """What modules said that nobody has been shown yet."""
        return "".join(self._told)[:MAX_MESSAGE]

    # -- who is it -------------------------------------------------------------------------------

    def check_password(self, *, genuine: bool, empty: bool) -> str | None:
        """The method ``password``: one question, whose answer is every module's. ``empty``: PermitEmptyPasswords."""
        try:
            (password,) = self._dialogue_asks([Prompt("Password: ")])
        except EOFError:
            self._abandoned = True
            return ABANDONED
        except RemoteProtocolError as error:
            return str(error)
        if not password and not empty:
            genuine = False
        secret = password if genuine else _nonsense(password)

        def answer(said: Sequence[Said]) -> list[bytearray | None]:
            for each in said:
                if each.style == pam.PROMPT_ECHO_ON:
                    raise RemoteProtocolError(
                        "pam", f"asks more than a password: {each.text[:100]!r}"
                    )
            self._collect([each for each in said if not each.asks])
            return [bytearray(secret) if each.asks else None for each in said]

        try:
            reason = self._authenticate(answer, empty=empty)
        finally:
            wipe(password)
            wipe(secret)
        return reason or (None if genuine else NOT_GENUINE)

    def converse(self, *, genuine: bool, empty: bool) -> str | None:
        """The method ``keyboard-interactive``: what the modules ask is asked."""
        self._genuine = genuine
        reason = self._authenticate(self._ask, empty=empty)
        if reason is not None and self._told and self._dialogue is not None:
            with contextlib.suppress(EOFError, RemoteProtocolError):
                self._ask([])  # "The account is locked due to 3 failed logins."
        return reason or (None if genuine else NOT_GENUINE)

    def _authenticate(self, answer: Converse, *, empty: bool) -> str | None:
        self._answer = answer
        self._null_flag = 0 if empty else pam.DISALLOW_NULL_AUTHTOK
        try:
            self._handle().call("authenticate", self._null_flag)
        except (PamError, OSError) as error:
            return self._failure(error)
        finally:
            self._answer = self._collect
        self.authenticated = True
        return self._other_user()

    def _dialogue_asks(self, prompts: list[Prompt], instruction: str = "") -> list[bytearray]:
        if self._dialogue is None:
            raise RemoteProtocolError("pam", "asks a question that nobody can be asked")
        return self._dialogue.ask(prompts, instruction)

    def _ask(self, said: Sequence[Said]) -> list[bytearray | None]:
        """Texts wait for the next question."""
        self._collect([each for each in said if not each.asks])
        prompts = [
            Prompt(each.text[:MAX_TEXT], each.style == pam.PROMPT_ECHO_ON)
            for each in said
            if each.asks
        ]
        if said and not prompts:
            return [None] * len(said)
        told, self._told = self.message.rstrip("\n"), []
        answers = self._dialogue_asks(prompts, told)
        if not self._genuine:
            answers = [_nonsense(answer) for answer in answers]
        given = iter(answers)
        return [next(given) if each.asks else None for each in said]

    def _collect(self, said: Sequence[Said]) -> list[bytearray | None]:
        """Of those who can ask nobody."""
        for each in said:
            if each.asks:
                raise RemoteProtocolError(
                    "pam", f"asks what nobody can be asked: {each.text[:100]!r}"
                )
            if each.style in (pam.ERROR_MSG, pam.TEXT_INFO):
                self._told.append(each.text.rstrip("\n") + "\n")
        return [None] * len(said)

    # -- may he, and with what -------------------------------------------------------------------

    def admit(self) -> str | None:
        """The account's rules. A password that is to be changed is changed here if the client can be asked; else ``expired``."""
        try:
            self._handle().call("acct_mgmt", self._null_flag)
        except PamError as error:
            if error.code != pam.NEW_AUTHTOK_REQD:
                return self._failure(error)
            return self._other_user() or self._change()
        except OSError as error:
            return self._failure(error)
        return self._other_user()

    def _change(self) -> str | None:
        if self._dialogue is None:
            self.expired = True
            return None
        self._answer = self._ask
        try:
            self._handle().call("chauthtok", pam.CHANGE_EXPIRED_AUTHTOK)
        except (PamError, OSError) as error:
            return self._failure(error)
        finally:
            self._answer = self._collect
        return None

    # -- the session -----------------------------------------------------------------------------

    def open(self, account: Account) -> str | None:
        """Credentials and session, for this process and what it forks: limits, groups, labels."""
        try:
            handle = self._handle()
            os.setgroups(list(account.groups))
            try:
                handle.call("setcred", pam.ESTABLISH_CRED)
            except PamError:
                if self.authenticated:
                    raise  # without that, a module may well not know whom it is about
            handle.call("open_session")
        except (PamError, OSError) as error:
            return self._failure(error)
        self.opened = True
        return self._other_user()

    def environment(self) -> dict[str, str]:
        """For the session."""
        return {} if self._pam is None else self._pam.environment()

    def close(self) -> str | None:
        """Of session and handle."""
        reason = None
        if self._pam is not None and self.opened:
            self.opened = False
            try:
                self._pam.call("close_session")
                self._pam.call("setcred", pam.DELETE_CRED)
            except PamError as error:
                reason = str(error)
        if self._pam is not None:
            self._pam.end()
            self._pam = None
        return reason

    # -- the handle ------------------------------------------------------------------------------

    def _handle(self) -> Pam:
        if self._pam is None:
            login = self._login
            name = login.user if _can_be_name(login.user) else NO_NAME
            handle = self._pam = Pam(self._service, name, self._converse)
            handle.set_item(pam.RHOST, self._host_name)
            handle.set_item(pam.TTY, TTY)
            places = (*login.client, *login.server)
            handle.put_environment("SSH_CONNECTION", " ".join(str(each) for each in places))
        return self._pam

    def _converse(self, said: Sequence[Said]) -> Sequence[bytearray | None]:
        return self._answer(said)

    def _other_user(self) -> str | None:
        """A module may let somebody else in; we judged this one's keys, lists and rules."""
        found = self._handle().user
        if found == self._login.user:
            return None
        return f"PAM user mismatch: a module made {found[:100]!r} of {self._login.user[:100]!r}"

    def _failure(self, error: PamError | OSError) -> str:
        told = None if self._pam is None else self._pam.failure
        if isinstance(told, EOFError):
            self._abandoned = True
            return ABANDONED
        return str(error) if told is None else f"{error} ({told})"


def _can_be_name(user: str) -> bool:
    return bool(user) and user.isprintable() and "/" not in user and not user.startswith("-")


def _nonsense(answer: bytearray) -> bytearray:
    """As long as the answer, which is wiped."""
    size = len(answer)
    wipe(answer)
    return bytearray(itertools.islice(itertools.cycle(NONSENSE), size))
