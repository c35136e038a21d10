"""The messages of ``qsh/1``: typed, frozen structs, encoded as MessagePack maps (docs/protocol.md 4-7).

The field ``t`` names the type. Unknown fields are ignored; an unknown type is refused with ``unknown-message``.
Every list and text is limited here, so that nothing larger reaches the code behind.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "ALPN",
    "MAX_TYPED",
    "X11",
    "Attach",
    "Auth",
    "AuthAccepted",
    "AuthAnswers",
    "AuthContinue",
    "AuthQuestions",
    "AuthRefused",
    "Banner",
    "ChannelAnswer",
    "ClientMessage",
    "Exit",
    "ExitAck",
    "Failed",
    "GoBack",
    "Hello",
    "HostAuth",
    "KeyProofs",
    "Listen",
    "Listening",
    "Offer",
    "Open",
    "Opened",
    "Prompt",
    "Proof",
    "ProveKeys",
    "Pty",
    "Resume",
    "ServerMessage",
    "Signal",
    "StderrHeader",
    "Target",
    "UniHeader",
    "Unlisten",
    "WindowChange",
    "offering",
]

ALPN: Final = "qsh/1"
VERSION: Final = 1

MAX_BLOB: Final = 16 * 1024
"""Bytes of a key, certificate or signature; an RSA-16384 certificate with options fits."""
MAX_OFFERS: Final = 64
MAX_PROMPTS: Final = 32
"""Questions at a time (PAM_MAX_NUM_MSG)."""
MAX_ANSWER: Final = 1024
"""Characters of an answer; PAM takes 512 bytes, sshd 1,024 of a password."""
MAX_HOST: Final = 1024
"""Characters of a forward's host (NI_MAXHOST)."""
MAX_PATH: Final = 107
"""Bytes of a unix socket's path on Linux (sun_path, without the NUL)."""
MAX_COMMAND: Final = 128 * 1024
"""Bytes of a command line: what Linux takes as one argument (MAX_ARG_STRLEN), and the shell gets it as one."""

Name = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=16 * 1024)]
Blob = Annotated[bytes, Meta(max_length=MAX_BLOB)]
Count = Annotated[int, Meta(ge=0, le=0xFFFF)]
Offset = Annotated[int, Meta(ge=0, le=2**62)]
ChannelId = Annotated[int, Meta(ge=0, le=2**62)]
ListenerId = Annotated[int, Meta(ge=0, le=2**31 - 1)]


RawKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Record = Annotated[bytes, Meta(max_length=64)]
ClientName = Annotated[bytes, Meta(min_length=16, max_length=16)]


class Message(Struct, frozen=True, tag_field="t", omit_defaults=True):
    """Base of all messages."""


class Target(Struct, frozen=True, omit_defaults=True):
    """A host and a port, or the path of a unix socket: where a forwarded connection leads to, comes from, or is waited for."""

    host: Annotated[str, Meta(max_length=MAX_HOST)] = ""
    port: Count = 0
    path: Annotated[bytes, Meta(max_length=MAX_PATH)] = b""


# -- control stream, both ways -------------------------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    """First message of both sides (docs/protocol.md 4.1)."""

    versions: Annotated[list[Annotated[int, Meta(ge=1, le=1 << 30)]], Meta(max_length=16)]
    software: Name = ""
    features: Annotated[list[Name], Meta(max_length=64)] = []
    critical: Annotated[list[Name], Meta(max_length=64)] = []
    """Features without which the sender cannot go on; an unknown one ends the connection."""


# -- control stream, client to server ------------------------------------------------------------


class Offer(Struct, frozen=True, array_like=True):
    """A public key (or certificate) that the client could prove."""

    blob: Blob


class Proof(Struct, frozen=True, omit_defaults=True):
    """The SSH hostbound signature by one of the offered keys (docs/protocol.md 5.2)."""

    offer: Annotated[int, Meta(ge=0, lt=MAX_OFFERS)]
    algorithm: Name
    signature: Blob


class Resume(Struct, frozen=True, omit_defaults=True):
    """The proof of a client that comes back to a terminal (docs/protocol.md 5.7)."""

    key: RawKey
    record: Record
    """From AuthAccepted."""
    session: Name
    client: ClientName
    ticket: Annotated[bytes, Meta(min_length=1, max_length=16)]
    """These three as in the Attach that is to follow."""
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Auth(Message, frozen=True, tag="auth"):
    """A login attempt (docs/protocol.md 5.1)."""

    user: Name
    offers: Annotated[list[Offer], Meta(max_length=MAX_OFFERS)] = []
    proof: Proof | None = None
    resume_key: Annotated[bytes, Meta(max_length=32)] = b""
    """With ``proof``: the public half of a key that may resume this login's terminals (5.6); empty, or 32 bytes."""
    resume: Resume | None = None
    """Instead of ``proof``."""
    method: Name = ""
    """Alone with ``user``: ``password`` or ``keyboard-interactive``, by questions (5.10); empty: by key."""


class AuthAnswers(Message, frozen=True, tag="auth-answers"):
    """One answer for each prompt of AuthQuestions, in their order. They are secrets: no text shows them."""

    answers: Annotated[
        list[Annotated[str, Meta(max_length=MAX_ANSWER)]], Meta(max_length=MAX_PROMPTS)
    ] = []

    def __repr__(self) -> str:
        return f"AuthAnswers({len(self.answers)} hidden)"


class WindowChange(Message, frozen=True, tag="window"):
    """The client's window has another size. It applies after ``input_offset`` bytes of the channel."""

    channel: ChannelId
    rows: Count
    cols: Count
    xpixel: Count = 0
    ypixel: Count = 0
    input_offset: Offset = 0


class Signal(Message, frozen=True, tag="signal"):
    """Deliver a signal (name without SIG, RFC 4254 6.9; ``BRK`` is a break) to the channel's process group."""

    channel: ChannelId
    name: Annotated[str, Meta(pattern=r"\A[A-Z0-9]{1,16}\Z")]


class ExitAck(Message, frozen=True, tag="exit-ack"):
    """The exit status has arrived, and all output before it."""

    channel: ChannelId


class Listen(Message, frozen=True, tag="listen"):
    """Wait for connections on the server (docs/protocol.md 11.7)."""

    listener: ListenerId
    """The client's choice."""
    target: Target
    """``host``: ``localhost``, an address or a name, "" for all addresses. Port 0: one that is free."""
    udp: bool = False
    """For datagrams: each peer becomes a flow (docs/protocol.md 12)."""
    idle_s: Count = 120
    """A flow ends when it was unused for so long."""


class Unlisten(Message, frozen=True, tag="unlisten"):
    """Wait for no more of them."""

    listener: ListenerId


class ProveKeys(Message, frozen=True, tag="prove-keys"):
    """Prove that you hold ``other_keys`` of HOSTAUTH (docs/protocol.md 3.5); once, and only to who says so in its features."""


# -- control stream, server to client ------------------------------------------------------------


class KeyProofs(Message, frozen=True, tag="key-proofs"):
    """The answer: a signature by each of the other keys, in their order; none: not now."""

    signatures: Annotated[list[Blob], Meta(max_length=8)] = []


class GoBack(Message, frozen=True, tag="go-back"):
    """This login may not be where the client has moved to: it is closed if it stays there."""


class Listening(Message, frozen=True, tag="listening"):
    """The answer to Listen: it does, on this port; or not, with a ``code`` as in Failed."""

    listener: ListenerId
    port: Count = 0
    code: Name = ""
    reason: Text = ""


class AuthAccepted(Message, frozen=True, tag="auth-ok"):
    """The login is done."""

    session: Name = ""
    notices: Annotated[list[Text], Meta(max_length=16)] = []
    """Lines for the user's standard error."""
    resume: Record = b""
    """Whoever has it and the private half of ``resume_key`` may resume this login's terminals."""


class AuthContinue(Message, frozen=True, tag="auth-more"):
    """No login yet; these offers (indices) would do if signed."""

    acceptable: Annotated[
        list[Annotated[int, Meta(ge=0, lt=MAX_OFFERS)]], Meta(max_length=MAX_OFFERS)
    ]


class Prompt(Struct, frozen=True, array_like=True):
    """One question, and whether what is typed may be seen."""

    text: Text
    echo: bool = False


class AuthQuestions(Message, frozen=True, tag="auth-ask"):
    """What the user is to be shown and asked (docs/protocol.md 5.11); with no prompts there is only something to read."""

    name: Name = ""
    instruction: Text = ""
    prompts: Annotated[list[Prompt], Meta(max_length=MAX_PROMPTS)] = []


class AuthRefused(Message, frozen=True, tag="auth-failed"):
    """This attempt failed. The same for an unknown user, a wrong key and a refused account."""

    methods: Annotated[list[Name], Meta(max_length=16)] = []
    final: bool = False
    """No further attempt will be answered on this connection."""
    partial: bool = False
    """The attempt was right, and more is wanted: ``methods`` says what (5.15)."""


class Banner(Message, frozen=True, tag="banner"):
    """Text to show before authentication."""

    text: Text


class Exit(Message, frozen=True, tag="exit"):
    """A channel's program has ended, after exactly these many bytes of output."""

    channel: ChannelId
    stdout_offset: Offset
    stderr_offset: Offset
    status: Annotated[int, Meta(ge=0, le=255)] | None = None
    signal: Name | None = None
    core_dumped: bool = False
    text: Text = ""


ClientMessage = (
    Hello | Auth | AuthAnswers | WindowChange | Signal | ExitAck | Listen | Unlisten | ProveKeys
)
ServerMessage = (
    Hello
    | AuthAccepted
    | AuthContinue
    | AuthQuestions
    | AuthRefused
    | Banner
    | Exit
    | Listening
    | KeyProofs
    | GoBack
)

# -- channel streams -----------------------------------------------------------------------------


class Pty(Struct, frozen=True, omit_defaults=True):
    """A terminal for the channel (RFC 4254 6.2 and 8)."""

    term: Name
    rows: Count
    cols: Count
    xpixel: Count = 0
    ypixel: Count = 0
    modes: Annotated[
        dict[Annotated[int, Meta(ge=0, le=255)], Annotated[int, Meta(ge=0, le=2**32 - 1)]],
        Meta(max_length=160),
    ] = {}


MAX_TYPED: Final = 1024
"""Bytes that Attach may bring along: what a person types while a network is changed."""


class Attach(Struct, frozen=True, omit_defaults=True):
    """What OPEN asks of a terminal (``Open.terminal``): of a new one, or of a running one (kind ``attach``)."""

    client: ClientName
    """Random, for the life of the client process: who types."""
    ticket: Annotated[bytes, Meta(max_length=16)] = b""
    """From Attached: resume what this client was attached to, without asking for more rights."""
    consumed: Offset | None = None
    """Output that the client's terminal shows; None: nothing yet, paint the screen."""
    read_only: bool = False
    exact: bool = False
    """Policy: never skip output."""
    host: Name = ""
    """Name of the client's machine, for the list of sessions."""
    history_lines: Annotated[int, Meta(ge=0, le=2000)] = 0
    """With a paint: lines of history to print above it."""
    typed: Annotated[bytes, Meta(max_length=MAX_TYPED)] = b""
    """With a ticket: typed bytes that the host may not have, so that they do not wait for Attached."""
    typed_from: Offset = 0
    """Their offset."""


class X11(Struct, frozen=True, omit_defaults=True):
    """How programs prove that they may use a display (docs/protocol.md 13.4)."""

    protocol: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9.:_-]{1,64}\Z")]
    """Such as ``MIT-MAGIC-COOKIE-1``; it is given to xauth(1), so nothing else may be in it."""
    cookie: Annotated[bytes, Meta(min_length=1, max_length=256)]
    """What they show: not the display's own cookie, which the client keeps to itself."""
    screen: Annotated[int, Meta(ge=0, le=255)] = 0


class Open(Message, frozen=True, tag="open"):
    """First frame of a channel stream, from who opens it (docs/protocol.md 6.1)."""

    kind: Name
    """``shell``, ``exec``, ``subsystem``; ``attach`` and ``sessions`` (docs/protocol.md 10); ``connect`` (11); ``udp`` (12).

    From the server: ``accepted`` (11.8), ``agent`` and ``x11`` (13).
    """
    command: Annotated[bytes, Meta(max_length=MAX_COMMAND)] = b""
    pty: Pty | None = None
    env: Annotated[dict[Name, Text], Meta(max_length=256)] = {}
    terminal: Attach | None = None
    """The channel is a terminal and carries frames, not raw bytes."""
    target: Target | None = None
    """Of a forwarded connection: where it is to lead to."""
    origin: Target | None = None
    """Of a forwarded connection: where it comes from."""
    listener: ListenerId = 0
    """Of an ``accepted`` one: who waited for it."""
    by_stream: Count = 65535
    """Of a ``udp`` one: what is larger never goes by the stream."""
    agent: bool = False
    """The channel's programs may call the client's agent (13.1)."""
    x11: X11 | None = None
    """They may call its display; of a call of the kind ``x11``: what they are to show."""


def offering(message: Open, *, agent: bool, x11: X11 | None) -> Open:
    """The same OPEN, which lets the channel's programs call the client's agent and display."""
    return msgspec.structs.replace(message, agent=agent, x11=x11)


class Opened(Message, frozen=True, tag="opened"):
    """Second frame of a channel stream, from the server; raw bytes follow."""

    stderr: bool = False
    """A unidirectional stream with the channel's standard error is on its way."""
    notices: Annotated[list[Text], Meta(max_length=16)] = []
    terminal: bool = False
    """Frames of qsh.wire.terminal follow instead of raw bytes."""


class Failed(Message, frozen=True, tag="open-failed"):
    """The channel cannot be had; the stream ends here."""

    code: Name
    reason: Text = ""
    detail: Name = ""
    """The system's symbol for what failed, such as ``ECONNREFUSED``."""


ChannelAnswer = Opened | Failed

# -- unidirectional streams, server to client ----------------------------------------------------


class HostAuth(Message, frozen=True, tag="hostauth"):
    """The server's identity in SSH's terms, in its first flight (docs/protocol.md 3.3)."""

    key: Blob
    signature: Blob
    """SSH signature by ``key`` over the session id."""
    certificates: Annotated[list[Blob], Meta(max_length=8)] = []
    other_keys: Annotated[list[Blob], Meta(max_length=8)] = []


class StderrHeader(Message, frozen=True, tag="stderr"):
    """First frame of a stream that carries a channel's standard error; raw bytes follow."""

    channel: ChannelId


UniHeader = HostAuth | StderrHeader

encode_payload = msgspec.msgpack.Encoder().encode
