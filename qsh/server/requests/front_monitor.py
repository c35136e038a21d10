"""Front and monitor: logins, proofs, moves."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from qsh.server.admission import Limits  # noqa: TC001 - msgspec reads the annotations
from qsh.server.requests.fields import Address, Blob, Local, Number, SessionId, Text
from qsh.wire.messages import MAX_OFFERS, Proof, Record, Resume

__all__ = [
    "OTHER_RULES",
    "Counts",
    "Dialogue",
    "Forget",
    "FrontRequest",
    "Identity",
    "LeftClient",
    "LeftClients",
    "Login",
    "MonitorAnswer",
    "MoveVerdict",
    "Moved",
    "NewListener",
    "Outcome",
    "Penalised",
    "PenalisedBefore",
    "Proofs",
    "Prove",
    "Rules",
    "Verdict",
]


class Login(Local, frozen=True, tag="login"):
    """A login attempt on a connection whose handshake the monitor signed."""

    session_id: SessionId
    user: Annotated[str, Meta(max_length=256)]
    client: Address
    server: Address
    offers: Annotated[list[Blob], Meta(max_length=MAX_OFFERS)] = []
    proof: Proof | None = None
    resume_key: Annotated[bytes, Meta(max_length=32)] = b""
    resume: Resume | None = None
    method: Annotated[str, Meta(max_length=32)] = ""
    """By questions (docs/protocol.md 5.10); empty: by key."""
    connection_id: Annotated[bytes, Meta(max_length=20)] = b""
    """Of the client's packets; empty: it did not come by UDP."""


class Forget(Local, frozen=True, tag="forget"):
    """The connection is gone; no login will be asked for on this session id."""

    session_id: SessionId
    answered: bool = False
    """Questions were, and the client did not wait for what came of it."""


class Prove(Local, frozen=True, tag="prove"):
    """Sign for the client that was let in on this session id, once, with every host key but the one of its handshake."""

    session_id: SessionId


class Moved(Local, frozen=True, tag="moved"):
    """The client that was let in on this session id is at another address now: do the rules for addresses let it stay?"""

    session_id: SessionId
    client: Address


class Counts(Local, frozen=True, tag="counts"):
    """What the front has counted since its start, and what it has now; sent when it has changed, at most every second."""

    attempts: Annotated[dict[Annotated[str, Meta(max_length=16)], Number], Meta(max_length=8)]
    """By decision (admission.py)."""
    unauthenticated: Number
    authenticated: Number
    penalties: Annotated[dict[Annotated[str, Meta(max_length=16)], Number], Meta(max_length=8)] = {}
    """By cause (penalties.py)."""
    penalised: Number = 0
    """Sources that are watched or refused now."""


class Penalised(Local, frozen=True, tag="penalised"):
    """A source has that much time against it (penalties.py), by the monotonic clock; ``active``: it is refused until then."""

    source: Annotated[str, Meta(max_length=64)]
    until: float
    active: bool


FrontRequest = Login | Forget | Prove | Moved | Counts | Penalised


class Identity(Local, frozen=True, tag="identity"):
    """The server's public keys, in order of preference, and their certificates. Not the first: for connections to come;
    descriptor: the socket to who signs with them.
    """

    keys: list[Blob]
    certificates: list[Blob] = []


class Dialogue(Local, frozen=True, tag="dialogue"):
    """A Login with a method is judged; descriptor: the socket of the login child, which asks there."""

    session_id: SessionId


class Verdict(Local, frozen=True, tag="verdict"):
    """The answer to a Login; if accepted, the session host's socket comes with it."""

    session_id: SessionId
    outcome: str
    acceptable: list[int] = []
    final: bool = False
    session: str = ""
    notices: list[Text] = []
    """To be shown to the user, whatever the outcome."""
    resume: Record = b""
    penalty: str = ""
    """What a refusal counts as (penalties.py); empty: it is not the client's fault."""
    methods: list[str] = []
    """What may be tried now; empty: nobody could say."""


class Proofs(Local, frozen=True, tag="proofs"):
    """The signatures, in the order of the keys."""

    session_id: SessionId
    signatures: list[Blob] = []


class MoveVerdict(Local, frozen=True, tag="move-verdict"):
    """The answer to Moved."""

    session_id: SessionId
    outcome: str
    """ACCEPTED; REFUSED; CONTINUE: nobody could say, ask again."""
    rules: bool = False
    """Refused because other rules hold there, under which it may log in."""


class NewListener(Local, frozen=True, tag="listener"):
    """One more socket to serve, which comes with it."""


class Rules(Local, frozen=True, tag="rules"):
    """What front and monitor take from a configuration that was read again (docs/architecture.md 2.13)."""

    grace_s: float
    max_attempts: int
    banner: Text
    level: str
    limits: Limits
    """Of the front's admission."""
    listening: list[Address]
    """Of all sockets that are to be served; others take no new connections."""


class LeftClient(Struct, frozen=True):
    """Where one was, by which address of ours, and the connection id of its packets."""

    client: Address
    server: Address
    connection_id: bytes


class LeftClients(Local, frozen=True, tag="left"):
    """Of the front before, who do not know yet that it has ended."""

    clients: list[LeftClient]


class PenalisedBefore(Local, frozen=True, tag="penalised-before"):
    """By the front before, as far as it is not over."""

    penalties: list[Penalised]


MonitorAnswer = (
    Identity
    | LeftClients
    | PenalisedBefore
    | Dialogue
    | Verdict
    | Proofs
    | MoveVerdict
    | NewListener
    | Rules
)


class Outcome:
    """Values of ``outcome``."""

    ACCEPTED: Final = "accepted"
    CONTINUE: Final = "continue"
    PARTIAL: Final = "partial"
    """Right, and more is wanted (AuthenticationMethods)."""
    REFUSED: Final = "refused"


OTHER_RULES: Final = "other rules hold there"
"""The reason of a Judgement that refuses a move after which the client may log in again."""
