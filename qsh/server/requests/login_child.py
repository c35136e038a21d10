"""The login child, with monitor and front, and the session host with the monitor."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from qsh.server.requests.fields import Address, Local, Text
from qsh.server.requests.spawner import Grant  # noqa: TC001 - msgspec reads the annotations
from qsh.wire.messages import MAX_ANSWER, MAX_PROMPTS, Prompt

__all__ = [
    "Adopt",
    "Answers",
    "Begin",
    "HostReport",
    "Judgement",
    "Questions",
    "TerminalLogin",
]


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
    rights: bytes = b""
    """Of an accepted login."""
    adopts: int = 0
    """The session host of the resumed terminal, which goes on; 0: there is to be a new one."""


class TerminalLogin(Local, frozen=True, tag="tty"):
    """The session opened a terminal: a login record is due."""

    line: Annotated[str, Meta(max_length=64)]
    pid: Annotated[int, Meta(ge=1, le=2**31)]


HostReport = Judgement | TerminalLogin


class Adopt(Local, frozen=True, tag="adopt"):
    """Session host: go on for a connection that resumes, from there; descriptor: the socket to its front."""

    client: Address
    server: Address


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
