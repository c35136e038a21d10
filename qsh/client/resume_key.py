"""The key with which this process resumes its terminals: made in memory, never written (docs/protocol.md 5.6).

So a connection that was lost is replaced without the agent, the passphrase or the touch of the first login.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsh.auth.resume_proof import resume_data
from qsh.client.log import log
from qsh.quic import ed25519_public, ed25519_sign
from qsh.wire.messages import Auth, AuthRefused, Offer, Resume

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.authenticate import Authenticator
    from qsh.wire.messages import AuthAnswers, AuthContinue, AuthQuestions, Open

__all__ = ["ResumeFirst", "ResumeKey"]

_SEED_BYTES: Final = 32


class ResumeKey:
    """Of one login. Its repr shows nothing."""

    __slots__ = ("_blob", "_record", "_seed", "public")

    def __init__(self) -> None:
        self._seed = os.urandom(_SEED_BYTES)
        self.public = ed25519_public(self._seed)
        self._record = self._blob = b""

    def granted(self, record: bytes, blob: bytes) -> None:
        """The login with the key ``blob`` (b"": without one) has brought this record; b"": none."""
        if record:
            self._record, self._blob = record, blob

    def forget(self) -> None:
        """The server does not take it any more."""
        self._record = b""

    def auth(self, user: str, session_id: bytes, message: Open | None) -> Auth | None:
        """AUTH for a connection on which ``message`` is to attach the terminal; None: it cannot be resumed."""
        terminal = None if message is None else message.terminal
        if message is None or terminal is None or not terminal.ticket or not self._record:
            return None
        session = message.command.decode(errors="replace")
        text = resume_data(
            session_id, user, self._record, session, terminal.client, terminal.ticket
        )
        resume = Resume(
            self.public,
            self._record,
            session,
            terminal.client,
            terminal.ticket,
            ed25519_sign(self._seed, text),
        )
        return Auth(user, [Offer(self._blob)] if self._blob else [], resume=resume)


class ResumeFirst:
    """Answers the server as an Authenticator does; that of the login's own key is made when resuming is refused."""

    def __init__(self, key: ResumeKey, otherwise: Callable[[], Authenticator]) -> None:
        self._key, self._otherwise = key, otherwise
        self.authenticator: Authenticator | None = None
        """What took over."""

    @property
    def methods(self) -> list[str]:
        """As Authenticator.methods."""
        return ["publickey"] if self.authenticator is None else self.authenticator.methods

    @property
    def method(self) -> str:
        """As Authenticator.method."""
        return "resume" if self.authenticator is None else self.authenticator.method

    def answer(
        self, message: AuthContinue | AuthRefused | AuthQuestions
    ) -> Auth | AuthAnswers | None:
        """As Authenticator.answer."""
        if self.authenticator is not None:
            return self.authenticator.answer(message)
        log.debug("the session cannot be resumed with its own key: using the login's")
        self._key.forget()
        if isinstance(message, AuthRefused) and message.final:
            return None
        self.authenticator = self._otherwise()
        return self.authenticator.first()
