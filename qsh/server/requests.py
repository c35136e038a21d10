"""What qshd's processes say to each other, over SOCK_SEQPACKET socket pairs (docs/architecture.md 2.2).

    front ─ Login, Forget, Prove, Moved ─► monitor ─ SpawnLogin, SpawnSession, Start… ─► spawner ─ fork ─► all others
    front ◄─ Identity, Proofs, MoveVerdict, Verdict (+ the session host's socket) ─ monitor ◄─ Spawned, Reaped ─ spawner
    front ◄─ Dialogue (+ the login child's socket) ─ monitor    front ─ Answers ─► login child    front ◄─ Questions ─ login child
    monitor ─ Begin (+ the session host's sockets) ─► login child, which keeps its PAM session
    front ─ Counts ─► monitor   monitor ◄─ Judgement ─ login child        monitor ◄─ TerminalLogin ─ session host
    monitor ─ Serve (+ the front's socket), ProveKeys ─► signer        monitor ◄─ HeldKeys, Signed, Proofs ─ signer
    front ─ OpenChannel, Resize, SendSignal, HangUp, Connect, ListenOn, StopListening, Released, CallEnded ─► session host
    front ◄─ ChannelOpened (+ descriptors), ChannelFailed, Exited, ListensOn, Connected, Accepted, Called (+ socket) ─ host

The front is the least trusted: whatever it may send is checked by limits here and by the tables behind.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from qsh.auth.key_options import KeyOptions  # noqa: TC001 - msgspec reads the annotations
from qsh.config.daemon_options import DaemonOptions  # noqa: TC001
from qsh.server.account import Account  # noqa: TC001
from qsh.server.admission import Limits  # noqa: TC001
from qsh.wire.messages import (
    MAX_ANSWER,
    MAX_BLOB,
    MAX_COMMAND,
    MAX_OFFERS,
    MAX_PROMPTS,
    X11,
    Attach,
    Prompt,
    Proof,
    Pty,
    Record,
    Resume,
    Target,
)

__all__ = [
    "FRONT",
    "OTHER_RULES",
    "SIGNER",
    "Accepted",
    "Answers",
    "Begin",
    "Call",
    "CallEnded",
    "Called",
    "ChannelFailed",
    "ChannelOpened",
    "Connect",
    "Connected",
    "Counts",
    "Dialogue",
    "Exited",
    "Forget",
    "FrontRequest",
    "Grant",
    "HangUp",
    "HeldKeys",
    "HostAnswer",
    "HostReport",
    "HostRequest",
    "Identity",
    "Judgement",
    "ListenOn",
    "ListensOn",
    "Login",
    "MonitorAnswer",
    "MoveVerdict",
    "Moved",
    "NewListener",
    "OpenChannel",
    "Outcome",
    "Proofs",
    "Prove",
    "ProveKeys",
    "Questions",
    "Reaped",
    "Released",
    "Reload",
    "Reloaded",
    "Resize",
    "Rules",
    "SendSignal",
    "Serve",
    "Signed",
    "SignerReport",
    "SignerRequest",
    "SpawnLogin",
    "SpawnSession",
    "Spawned",
    "SpawnerReport",
    "SpawnerRequest",
    "StartFront",
    "StartSigner",
    "Step",
    "StopListening",
    "TerminalLogin",
    "Verdict",
]

MAX_PACKET: Final = 320 * 1024
"""Bytes of one packet; a session pair's buffers must hold it."""

Blob = Annotated[bytes, Meta(max_length=MAX_BLOB)]
SessionId = Annotated[bytes, Meta(min_length=46, max_length=46)]
Address = tuple[Annotated[str, Meta(max_length=64)], Annotated[int, Meta(ge=0, le=65535)]]
Channel = Annotated[int, Meta(ge=0, le=2**62)]
Listener = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=0xFFFF)]
Number = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=16 * 1024)]


class Local(Struct, frozen=True, tag_field="t", omit_defaults=True):
    """Base of all local messages."""


# -- front and monitor ---------------------------------------------------------------------------


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


FrontRequest = Login | Forget | Prove | Moved | Counts


class Identity(Local, frozen=True, tag="identity"):
    """The server's public keys, in order of preference, and their certificates."""

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


MonitorAnswer = Identity | Dialogue | Verdict | Proofs | MoveVerdict | NewListener | Rules


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


class Outcome:
    """Values of ``outcome``."""

    ACCEPTED: Final = "accepted"
    CONTINUE: Final = "continue"
    PARTIAL: Final = "partial"
    """Right, and more is wanted (AuthenticationMethods)."""
    REFUSED: Final = "refused"


OTHER_RULES: Final = "other rules hold there"
"""The reason of a Judgement that refuses a move after which the client may log in again."""


# -- monitor and spawner -------------------------------------------------------------------------


class Grant(Struct, frozen=True):
    """What a login child found that the session host needs: whose session, under which rules."""

    account: Account
    options: DaemonOptions | None
    """None: the configuration's, which every process has; they are many, and decoding them costs a session host memory."""
    key: KeyOptions | None
    """None: a key without options."""
    client: Address
    server: Address
    last_login: tuple[float, str] | None = None
    auth_info: str = ""
    """For ExposeAuthInfo: what let the user in."""
    generation: int = 0
    """Which of the configurations that there were since the start ``options`` None means."""
    environment: dict[str, str] | None = None
    """What PAM's modules want the session to have; None: no PAM was asked."""
    message: str = ""
    """What they want the user to read."""


class Step(Struct, frozen=True, omit_defaults=True):
    """A method that is done, of those that AuthenticationMethods wants."""

    method: str
    key: Blob = b""
    """That was proved."""


class SpawnLogin(Local, frozen=True, tag="spawn"):
    """Fork a login child; descriptors: its socket to the monitor and, for a method that asks, that to the front."""

    number: int
    login: Login
    host_key: Blob
    resumes: int | None = None
    """Of a login that resumes: the uid in its record, which the monitor has opened; None: it is not one of ours."""
    moved_from: Address | None = None
    """The login was accepted there, at ``then``, and its client is where ``login`` says now."""
    then: float = 0.0
    steps: list[Step] = []
    """What the same client has done before, in this order; of a login that resumes: what the one that it continues had."""


class SpawnSession(Local, frozen=True, tag="session"):
    """Fork a session host; descriptors: its socket to the monitor, its socket to the front."""

    number: int
    grant: Grant


class StartFront(Local, frozen=True, tag="front"):
    """Fork a front; descriptors: its socket to the monitor, its signing socket."""


class StartSigner(Local, frozen=True, tag="signer"):
    """Fork the signer; descriptor: its socket to the monitor."""


FRONT, SIGNER = 0, -1
"""Numbers of these two in what the spawner reports."""


class RecordLogin(Local, frozen=True, tag="record"):
    """Note a login on a terminal in utmp, wtmp and lastlog."""

    line: str
    user: str
    host: str
    pid: int
    uid: int
    now: float


class RecordLogout(Local, frozen=True, tag="unrecord"):
    """Note the end of one."""

    line: str
    pid: int
    now: float


class Reload(Local, frozen=True, tag="reload"):
    """Read the configuration again. Answered by NewListener for each new socket, then Reloaded."""


LoginRecord = RecordLogin | RecordLogout
SpawnerRequest = SpawnLogin | SpawnSession | StartFront | StartSigner | Reload | LoginRecord


class Spawned(Local, frozen=True, tag="spawned"):
    """A child runs; ``number`` may be FRONT or SIGNER, ``host`` tells a session host from its login child."""

    number: int
    pid: int
    host: bool = False


class SpawnFailed(Local, frozen=True, tag="unspawned"):
    """No child could be forked for this number."""

    number: int


class Reaped(Local, frozen=True, tag="reaped"):
    """A child of the spawner has ended, with this wait status."""

    pid: int
    status: int


class Reloaded(Local, frozen=True, tag="reloaded"):
    """The configuration was read again; without rules the old ones stay."""

    errors: list[Text] = []
    rules: Rules | None = None


SpawnerReport = Spawned | SpawnFailed | Reaped | NewListener | Reloaded

# -- session host and monitor --------------------------------------------------------------------


class Judgement(Local, frozen=True, tag="judgement"):
    """What the login child found."""

    outcome: str
    acceptable: list[int] = []
    grant: Grant | None = None
    reason: Text = ""
    """For the log only."""
    key: Text = ""
    """Type and fingerprint of the key that counted, for the log."""
    max_attempts: int | None = None
    """MaxAuthTries as it holds for this login; None: nobody could say."""
    resumable: bool = False
    """The configuration lets such logins be resumed."""
    methods: list[str] = []
    """What may be tried after this."""
    counts: bool = True
    """A refusal that MaxAuthTries counts."""
    keeps: bool = False
    """Accepted, and the login child has opened a PAM session: it waits for Begin, and starts the session host itself."""
    notices: list[Text] = []


class TerminalLogin(Local, frozen=True, tag="tty"):
    """The session opened a terminal: a login record is due."""

    line: Annotated[str, Meta(max_length=64)]
    pid: Annotated[int, Meta(ge=1, le=2**31)]


HostReport = Judgement | TerminalLogin

# -- front, monitor and login child --------------------------------------------------------------


class Begin(Local, frozen=True, tag="begin"):
    """Start the session host; descriptors: its socket to the monitor, its socket to the front."""


class Questions(Local, frozen=True, tag="questions"):
    """For the client (docs/protocol.md 5.11)."""

    name: Annotated[str, Meta(max_length=256)] = ""
    instruction: Text = ""
    prompts: Annotated[list[Prompt], Meta(max_length=MAX_PROMPTS)] = []


class Answers(Local, frozen=True, tag="answers"):
    """One for each prompt. No text shows them."""

    answers: Annotated[
        list[Annotated[bytearray, Meta(max_length=4 * MAX_ANSWER)]], Meta(max_length=MAX_PROMPTS)
    ] = []

    def __repr__(self) -> str:
        return f"Answers({len(self.answers)} hidden)"


# -- front and session host ----------------------------------------------------------------------


class OpenChannel(Local, frozen=True, tag="open"):
    """Start a program."""

    channel: Channel
    kind: Annotated[str, Meta(max_length=256)]
    command: Annotated[bytes, Meta(max_length=MAX_COMMAND)] = b""
    pty: Pty | None = None
    env: Annotated[dict[Annotated[str, Meta(max_length=256)], Text], Meta(max_length=256)] = {}
    terminal: Attach | None = None
    """The channel carries frames of qsh.wire.terminal."""
    agent: bool = False
    """The client takes calls for its agent,"""
    x11: X11 | None = None
    """and for its display."""


class Resize(Local, frozen=True, tag="resize"):
    """The window's new size in characters and pixels."""

    channel: Channel
    rows: Count
    cols: Count
    xpixel: Count = 0
    ypixel: Count = 0


class SendSignal(Local, frozen=True, tag="signal"):
    """A signal for the channel's process group."""

    channel: Channel
    name: Annotated[str, Meta(max_length=16)]


class HangUp(Local, frozen=True, tag="hangup"):
    """Nobody listens to the channel any more: its client ended it. (A link that just ends detaches terminals.)"""

    channel: Channel


class PathState(Local, frozen=True, tag="path"):
    """How the connection does, for its terminals; sent when it changes, at most every 250 ms."""

    rtt_us: Annotated[int, Meta(ge=0)]
    loss_ppm: Annotated[int, Meta(ge=0, le=1_000_000)]
    """Packets lost of those sent by the server lately."""
    window: Annotated[int, Meta(ge=0)]
    """Congestion window, bytes."""


class Connect(Local, frozen=True, tag="connect"):
    """Connect to a forward's target; HangUp ends the attempt."""

    channel: Channel
    target: Target
    origin: Target | None = None
    """For the log only."""
    udp: bool = False


class ListenOn(Local, frozen=True, tag="listen"):
    """Wait for connections that the client leads on; answered by ListensOn."""

    listener: Listener
    target: Target
    udp: bool = False


class StopListening(Local, frozen=True, tag="unlisten"):
    """Wait for no more of them."""

    listener: Listener


class Released(Local, frozen=True, tag="released"):
    """An Accepted connection has ended: there is room for another."""


CallKind = Literal["agent", "x11"]


class CallEnded(Local, frozen=True, tag="call-ended"):
    """So has a Called one."""

    channel: Channel
    kind: CallKind


HostRequest = (
    OpenChannel
    | Resize
    | SendSignal
    | HangUp
    | PathState
    | Connect
    | ListenOn
    | StopListening
    | Released
    | CallEnded
)


class ChannelOpened(Local, frozen=True, tag="opened"):
    """The program runs. Descriptors: stdin, stdout, stderr; or the terminal's master side twice; or, if ``terminal``, a stream
    socket and a datagram socket that carry qsh.wire.terminal.
    """

    channel: Channel
    notices: list[Text] = []
    terminal: bool = False


class ChannelFailed(Local, frozen=True, tag="failed"):
    """It does not."""

    channel: Channel
    code: str
    reason: Text
    detail: Annotated[str, Meta(max_length=256)] = ""
    """The system's symbol for what failed."""


class Connected(Local, frozen=True, tag="connected"):
    """A forward has reached its target. Descriptor: the socket."""

    channel: Channel


class Exited(Local, frozen=True, tag="exited"):
    """The channel's program has ended."""

    channel: Channel
    status: int | None = None
    signal: str | None = None
    core_dumped: bool = False


class ListensOn(Local, frozen=True, tag="listening"):
    """The answer to ListenOn: the port, or the code of what is wrong. Descriptors, for UDP: the sockets."""

    listener: Listener
    port: Count = 0
    code: str = ""
    reason: Text = ""


class Accepted(Local, frozen=True, tag="accepted"):
    """Somebody has connected. Descriptor: the socket."""

    listener: Listener
    origin: Target


class Call(Struct, frozen=True, omit_defaults=True):
    """A program's connection to something of the client's (docs/protocol.md 13)."""

    kind: CallKind
    origin: Target | None = None
    x11: X11 | None = None


class Called(Local, frozen=True, tag="called"):
    """A program calls the client of this channel. Descriptor: the socket."""

    channel: Channel
    call: Call


HostAnswer = ChannelOpened | ChannelFailed | Exited | Connected | ListensOn | Accepted | Called

encode = msgspec.msgpack.Encoder().encode
