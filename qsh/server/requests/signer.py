"""Monitor and signer."""

from __future__ import annotations

from qsh.server.requests.fields import Blob, Local, SessionId
from qsh.server.requests.front_monitor import Proofs

__all__ = [
    "HeldKeys",
    "ProveKeys",
    "Serve",
    "Signed",
    "SignerReport",
    "SignerRequest",
]


class HeldKeys(Local, frozen=True, tag="held-keys"):
    """The signer's first words: the public halves of what it holds, and what is derived from the first key."""

    keys: list[Blob]
    certificates: list[Blob]
    resume: bytes
    """Seals records of clients that come back."""
    lasting: list[bytes]
    """Secrets of fronts that outlive qshd."""


class Signed(Local, frozen=True, tag="signed"):
    """This session id was signed with host key number ``key``: said before the front has the signature."""

    session_id: SessionId
    key: int


class Serve(Local, frozen=True, tag="serve"):
    """There is a front; descriptor: the signer's end of the socket between them."""


class ProveKeys(Local, frozen=True, tag="prove-keys"):
    """Sign that all keys but number ``used`` are held, for the login on this session id."""

    session_id: SessionId
    used: int


SignerRequest = Serve | ProveKeys
SignerReport = HeldKeys | Signed | Proofs
