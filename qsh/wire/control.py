"""The control stream's state machines (docs/protocol.md 4 and 5).

The client pipelines HELLO and AUTH, and opens channels before it knows that it is let in; so what may be *sent* and what
may be *received* are two questions. One table per side answers both: from a state, a message in a direction leads to a
state; what is not in the table is an error, ours or the peer's. The first message either way is HELLO, once.

    client                                      server
    START ──hello──► GREETED                    START ──hello──► GREETED        (received)
    GREETED ──auth──► PENDING                   GREETED ──auth──► PENDING       (received)
    PENDING ──◄ auth-more, auth-failed──► GREETED
    PENDING ──◄ auth-ok──► OPEN                 (the same, sent)
    PENDING ──◄ auth-ask──► ASKED               (the same, sent)
    ASKED ──auth-answers, auth──► PENDING       ASKED ──auth-answers, auth──► PENDING       (received)

Questions are for an AUTH with a ``method``, and there are as many answers as there were prompts.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from qsh.errors import LocalProtocolError, RemoteProtocolError
from qsh.wire import framing
from qsh.wire.messages import (
    VERSION,
    Auth,
    AuthAccepted,
    AuthAnswers,
    AuthContinue,
    AuthQuestions,
    AuthRefused,
    Banner,
    ClientMessage,
    Exit,
    ExitAck,
    GoBack,
    Hello,
    KeyProofs,
    Listen,
    Listening,
    Message,
    ProveKeys,
    ServerMessage,
    Signal,
    Unlisten,
    WindowChange,
)

__all__ = ["FEATURES", "ClientControl", "ServerControl", "State"]

FEATURES: Final[tuple[str, ...]] = (
    "exec",
    "pty",
    "stderr",
    "forward",
    "udp",
    "agent",
    "x11",
    "prove-keys",
    "resume",
    "go-back",
)
"""What this version offers in HELLO; names are listed in docs/protocol.md 4.1."""

BYTES_BEFORE_AUTH: Final = 512 * 1024
"""Bytes that the server takes on the control stream before authentication: six full attempts fit."""


class State(Enum):
    """Where a control stream stands."""

    START = auto()
    GREETED = auto()
    PENDING = auto()
    ASKED = auto()
    OPEN = auto()


_Moves = dict[State, dict[type[Message], State]]

_CLIENT_SENDS: Final[_Moves] = {
    State.START: {Hello: State.GREETED},
    State.GREETED: {Auth: State.PENDING},
    State.PENDING: {},
    State.ASKED: {AuthAnswers: State.PENDING, Auth: State.PENDING},
    State.OPEN: {
        WindowChange: State.OPEN,
        Signal: State.OPEN,
        ExitAck: State.OPEN,
        Listen: State.OPEN,
        Unlisten: State.OPEN,
        ProveKeys: State.OPEN,
    },
}
_SERVER_SENDS: Final[_Moves] = {
    State.START: {},
    State.GREETED: {Banner: State.GREETED},
    State.PENDING: {
        Banner: State.PENDING,
        AuthContinue: State.GREETED,
        AuthQuestions: State.ASKED,
        AuthRefused: State.GREETED,
        AuthAccepted: State.OPEN,
    },
    State.ASKED: {},
    State.OPEN: {
        Exit: State.OPEN,
        Listening: State.OPEN,
        KeyProofs: State.OPEN,
        GoBack: State.OPEN,
    },
}


class _Control:
    """What both sides share: the decoder, HELLO, and the walk through the tables."""

    _sends: _Moves
    _receives: _Moves

    def __init__(self, kind: object, limit: int) -> None:
        self._frames: framing.FrameDecoder[Message] = framing.FrameDecoder(kind, limit)
        self._state = State.START
        self._said_hello = False
        self._heard_hello = False
        self._method = ""
        self._prompts = 0
        self.version = 0
        self.peer_software = ""
        self.features: frozenset[str] = frozenset()

    @property
    def state(self) -> State:
        """Present state; only this file moves it."""
        return self._state

    def _send(self, message: Message) -> bytes:
        if isinstance(message, Hello) and not self._said_hello:
            self._said_hello = True
            self._state = self._sends[self._state].get(Hello, self._state)
            return framing.encode(message)
        target = self._sends[self._state].get(type(message))
        if target is None or isinstance(message, Hello):
            raise LocalProtocolError(
                "out-of-state", f"{type(message).__name__} in {self._state.name}"
            )
        fault = self._fault(message)
        if fault:
            raise LocalProtocolError(*fault)
        self._state = target
        return framing.encode(message)

    def _take(self, message: Message) -> None:
        if isinstance(message, Hello):
            if self._heard_hello:
                raise RemoteProtocolError("out-of-state", "a second hello")
            self._heard_hello = True
            self._greet(message)
            self._state = self._receives[self._state].get(Hello, self._state)
            return
        if not self._heard_hello:
            raise RemoteProtocolError("out-of-state", f"{type(message).__name__} before hello")
        target = self._receives[self._state].get(type(message))
        if target is None:
            raise RemoteProtocolError(
                "out-of-state", f"{type(message).__name__} in {self._state.name}"
            )
        fault = self._fault(message)
        if fault:
            raise RemoteProtocolError(*fault)
        self._state = target

    def _fault(self, message: Message) -> tuple[str, str] | None:
        """What is wrong with a message of a dialogue, in a state that permits its type: a code and a text."""
        if isinstance(message, Auth):
            if message.method and (message.offers or message.proof or message.resume):
                return "bad-auth", "a method together with keys"
            self._method = message.method
        elif isinstance(message, AuthQuestions):
            if not self._method:
                return "out-of-state", "questions that nobody asked for"
            self._prompts = len(message.prompts)
        elif isinstance(message, AuthAnswers) and len(message.answers) != self._prompts:
            return "bad-answers", f"{len(message.answers)} answers to {self._prompts} questions"
        return None

    def _greet(self, hello: Hello) -> None:
        if VERSION not in hello.versions:
            raise RemoteProtocolError(
                "version", f"the peer speaks {hello.versions}, we speak [{VERSION}]"
            )
        unknown = sorted(set(hello.critical) - set(FEATURES))
        if unknown:
            raise RemoteProtocolError("critical-feature", ", ".join(unknown))
        self.version = VERSION
        self.peer_software = hello.software
        self.features = frozenset(hello.features) & frozenset(FEATURES)

    def _next(self) -> Message | None:
        message = self._frames.next()
        if message is not None:
            self._take(message)
        return message


class ClientControl(_Control):
    """The client's end. ``send_*`` return bytes for the stream; :meth:`receive` returns the server's messages."""

    _sends = _CLIENT_SENDS
    _receives = _SERVER_SENDS

    def __init__(self) -> None:
        super().__init__(ServerMessage, framing.LIMIT_BEFORE_AUTH)

    def send_hello(self, software: str) -> bytes:
        """The first bytes of the stream."""
        return self._send(Hello(versions=[VERSION], software=software, features=list(FEATURES)))

    def send(
        self,
        message: Auth
        | AuthAnswers
        | WindowChange
        | Signal
        | ExitAck
        | Listen
        | Unlisten
        | ProveKeys,
    ) -> bytes:
        """Raises LocalProtocolError ``out-of-state``."""
        return self._send(message)

    def receive(self, data: bytes) -> list[Message]:
        """Messages that ``data`` completes. Raises RemoteProtocolError."""
        self._frames.feed(data)
        messages: list[Message] = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages


class ServerControl(_Control):
    """The server's end. Messages are taken one at a time, so that what follows an AUTH waits for its answer."""

    _sends = _SERVER_SENDS
    _receives = _CLIENT_SENDS

    def __init__(self) -> None:
        super().__init__(ClientMessage, framing.LIMIT_BEFORE_AUTH)
        self._received = 0

    def send_hello(self, software: str) -> bytes:
        """The server's first message."""
        return self._send(Hello(versions=[VERSION], software=software, features=list(FEATURES)))

    def send(
        self,
        message: AuthAccepted
        | AuthContinue
        | AuthQuestions
        | AuthRefused
        | Banner
        | Exit
        | Listening
        | KeyProofs
        | GoBack,
    ) -> bytes:
        """Raises LocalProtocolError ``out-of-state``."""
        return self._send(message)

    def receive(self, data: bytes) -> None:
        """Add received bytes. Raises RemoteProtocolError ``too-much-before-auth``."""
        if self._state is not State.OPEN:
            self._received += len(data)
            if self._received > BYTES_BEFORE_AUTH:
                raise RemoteProtocolError("too-much-before-auth", f"{self._received} bytes")
        self._frames.feed(data)

    def next_message(self) -> Message | None:
        """The next message, or None: more bytes are needed, or an AUTH waits for its answer. Raises RemoteProtocolError."""
        return None if self._state is State.PENDING else self._next()
