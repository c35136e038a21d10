"""The client's side of the login dialogue (docs/protocol.md 5).

The first AUTH names every key on offer and is signed by one of them: the key that last worked on
this host, else the first that needs no person. When the server answers which of the others would
do, those sign one after the other, and now people may be asked: for a passphrase, a touch, a
confirmation. What is signed is SSH's hostbound request. Then come the methods by which the server
asks, as PreferredAuthentications orders them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from qsh.auth.userauth import default_algorithm, signed_data
from qsh.client.log import log
from qsh.wire.messages import (
    MAX_BLOB,
    MAX_OFFERS,
    Auth,
    AuthContinue,
    AuthQuestions,
    AuthRefused,
    Offer,
    Proof,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.client.identities import Candidate
    from qsh.client.questions import Questions
    from qsh.wire.messages import AuthAnswers

__all__ = ["Authenticator"]

_MAX_OFFERED_BYTES: Final = 40 * 1024
"""Bytes of all offers together: the message with its proof stays below the 64 KiB that the server
reads.
"""

_KEYS: Final = "publickey"

_ATTEMPTS_AT_ONCE: Final = 3
"""Keys that are tried for the first signature, should the file or the agent fail."""


class _Signs(Protocol):
    def sign(self, candidate: Candidate, data: bytes, algorithm: str) -> bytes | None: ...
    def unseal(self) -> Candidate | None: ...


class Authenticator:
    """One login. :meth:`first`, then :meth:`answer` for every answer of the server until it returns
    None.
    """

    def __init__(
        self,
        user: str,
        candidates: Sequence[Candidate],
        keyring: _Signs,
        *,
        session_id: bytes,
        host_key: bytes,
        remembered: str = "",
        resume_key: bytes = b"",
        order: Sequence[str] = (_KEYS,),
        questions: Callable[[], Questions] | None = None,
    ) -> None:
        """``resume_key``: the public half of a key that is to resume this login's terminals.

        ``order``: the methods to try; ``questions`` makes what answers those that ask.
        """
        self._user, self._resume_key = user, resume_key
        self._keyring = keyring
        self._session_id, self._host_key = session_id, host_key
        self._remembered = remembered
        self._offers = _limited(candidates)
        self._waiting: list[Candidate] = []
        self._heard = False
        self._order, self._make_questions = tuple(order), questions
        self._questions: Questions | None = None
        self._offered = False
        """All keys, at once."""
        self._done: Candidate | None = None
        """The key that was right, when more than it was wanted."""
        self._told = False
        """The server has said which methods can go on."""
        self.methods: list[str] = [_KEYS]
        """Methods that can go on, as the server last said."""
        self.method = _KEYS
        """That of the last AUTH."""
        self.used: Candidate | None = None
        """The key that signed the last AUTH."""

    def first(self) -> Auth:
        """The AUTH that leaves together with HELLO: with the keys, unless something else is preferred; then it just asks what
        there is.
        """
        return self._offer() if self._order[:1] == (_KEYS,) else Auth(self._user)

    def _offer(self) -> Auth:
        self._offered, self._heard = True, False
        self.method, self.used = _KEYS, None
        if log.debugging:  # a fingerprint takes importing a hash
            for candidate in self._offers:
                log.debug(f"Will attempt key: {candidate}")
        proof = None
        for candidate in self._at_once():
            proof = self._prove(candidate, self._offers.index(candidate))
            if proof is not None:
                break
        return self._auth(self._offers, proof)

    def answer(
        self, message: AuthContinue | AuthRefused | AuthQuestions
    ) -> Auth | AuthAnswers | None:
        """What is said next; None when there is nothing left to try."""
        if isinstance(message, AuthQuestions):
            return self._answer_questions(message)
        if isinstance(message, AuthContinue):
            if not self._heard:
                named = [self._offers[i] for i in message.acceptable if i < len(self._offers)]
                self._waiting = [candidate for candidate in named if candidate != self.used]
        else:
            self.methods = message.methods or self.methods
            self._told = self._told or bool(message.methods)
            if message.final:
                return None
            if message.partial:
                self._begin_anew()
        self._heard = True
        return self._next()

    def _answer_questions(self, message: AuthQuestions) -> Auth | AuthAnswers | None:
        if self._questions is None:
            return None
        answers = self._questions.answers(self.method, message)
        if answers is None:
            self._questions.give_up(self.method)
            return self._next()
        return answers

    def _begin_anew(self) -> None:
        """Right, and more is wanted: every method may be tried again, and every key but the one that was right."""
        log.verbose(f'Authenticated using "{self.method}" with partial success.')
        if self.method == _KEYS:
            self._done = self.used
            self._offers = [each for each in self._offers if each != self.used]
        self._offered, self._waiting = False, []
        if self._questions is not None:
            self._questions.renew()

    def _next(self) -> Auth | None:
        for method in self._order:
            if self._told and method not in self.methods:
                continue
            auth = self._next_key() if method == _KEYS else self._next_dialogue(method)
            if auth is not None:
                return auth
        return None

    def _next_dialogue(self, method: str) -> Auth | None:
        if self._questions is None:
            if self._make_questions is None:
                return None
            self._questions = self._make_questions()
        if not self._questions.begin(method):
            return None
        log.debug(f"Next authentication method: {method}")
        self.method, self.used = method, self._done
        return Auth(self._user, resume_key=self._resume_key, method=method)

    def _next_key(self) -> Auth | None:
        if not self._offered and self._offers:
            return self._offer()
        while self._waiting:
            candidate = self._waiting.pop(0)
            log.debug(f"Server accepts key: {candidate}")
            proof = self._prove(candidate, 0)
            if proof is not None:
                self.method = _KEYS
                return self._auth([candidate], proof)
        while (late := self._keyring.unseal()) is not None:
            log.debug(f"Offering public key: {late}")
            proof = self._prove(late, 0)
            if proof is not None:
                self.method = _KEYS
                return self._auth([late], proof)
        return None

    def _auth(self, offers: Sequence[Candidate], proof: Proof | None) -> Auth:
        named = [Offer(each.public.blob) for each in offers]
        return Auth(self._user, named, proof, self._resume_key)

    def _at_once(self) -> list[Candidate]:
        """Those that may sign before the server was asked, the best first."""
        ready = [candidate for candidate in self._offers if not candidate.needs_person]
        ready.sort(key=lambda candidate: candidate.mark != self._remembered)
        return ready[:_ATTEMPTS_AT_ONCE]

    def _prove(self, candidate: Candidate, index: int) -> Proof | None:
        algorithm = default_algorithm(candidate.public.type)
        data = signed_data(
            self._session_id, self._user, algorithm, candidate.public.blob, self._host_key
        )
        signature = self._keyring.sign(candidate, data, algorithm)
        self.used = candidate
        if signature is None:
            return None
        if log.debugging:
            log.debug(f"Offering public key: {candidate}")
        return Proof(index, algorithm, signature)


def _limited(candidates: Sequence[Candidate]) -> list[Candidate]:
    """As many as one AUTH carries."""
    taken: list[Candidate] = []
    size = 0
    for candidate in candidates:
        size += len(candidate.public.blob)
        if len(candidate.public.blob) > MAX_BLOB or size > _MAX_OFFERED_BYTES:
            log.debug(f"too many keys to offer: {candidate} is left out")
            continue
        taken.append(candidate)
    return taken[:MAX_OFFERS]
