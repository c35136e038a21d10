"""The socket of a shared connection: what its master and the clients that use it say (docs/protocol.md 14).

Frames as everywhere (framing.py). Descriptors travel with the first byte of the frame that they belong to. Both sides are
processes of one user; limits and types are checked all the same.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from qsh.wire.messages import MAX_HOST, MAX_PATH, Count, Message, Name, Offset, Open, Target, Text

__all__ = [
    "DESCRIPTORS",
    "SHARING_VERSION",
    "Answered",
    "Ask",
    "Attend",
    "Done",
    "Exited",
    "ForwardRequest",
    "FromMaster",
    "HangUp",
    "Lost",
    "PathReport",
    "Refused",
    "Request",
    "SessionOpened",
    "SessionRequest",
    "StdioRequest",
    "UseSsh",
    "Welcome",
]

SHARING_VERSION: Final = 1
MAX_TEXT: Final = 48 * 1024

Port = Annotated[int, Meta(ge=-2, le=0xFFFF)]
"""-2 stands for a path (qsh.config.forwards)."""
Host = Annotated[str, Meta(max_length=MAX_HOST)]
Path = Annotated[bytes, Meta(max_length=MAX_PATH)]

# -- from the master -----------------------------------------------------------------------------


class Welcome(Message, frozen=True, tag="welcome"):
    """First word of a master, when its login is done. Nothing is asked of one that has not said it."""

    version: Count
    pid: Annotated[int, Meta(ge=1)]
    stays: bool = False
    """It needs no client to go on."""


class SessionOpened(Message, frozen=True, tag="opened"):
    """The program runs, or the forwarded connection is there.

    With ``terminal`` come two descriptors: the channel's stream and its datagrams.
    """

    notices: Annotated[tuple[Text, ...], Meta(max_length=16)] = ()
    terminal: bool = False
    request: Count = 0
    """The number of the SessionRequest."""


class Refused(Message, frozen=True, tag="refused"):
    """Nothing was begun. ``code`` as in Failed, or ``denied`` by the user who was asked."""

    code: Name
    reason: Text = ""
    detail: Name = ""
    request: Count = 0


class Exited(Message, frozen=True, tag="exited"):
    """The end of what the client asked for; ``error``: why there is no status."""

    status: Annotated[int, Meta(ge=0, le=255)] | None = None
    signal: Name | None = None
    error: Text = ""
    request: Count = 0


class Answered(Message, frozen=True, tag="answered"):
    """To Ask and ForwardRequest."""

    text: Annotated[str, Meta(max_length=MAX_TEXT)] = ""
    port: Count = 0
    """That the host has chosen."""


class Lost(Message, frozen=True, tag="lost"):
    """The connection is gone under a terminal, which may ask for itself again."""

    reason: Text = ""
    kind: Name = ""
    code: Offset = 0
    request: Count = 0


class PathReport(Message, frozen=True, tag="path"):
    """To clients with a terminal, when it has changed: how the path does."""

    rtt_us: Offset
    sent_packets: Offset
    lost_packets: Offset
    received_packets: Offset
    sent_bytes: Offset = 0
    received_bytes: Offset = 0
    cwnd: Offset = 0
    mtu: Offset = 0


class UseSsh(Message, frozen=True, tag="use-ssh"):
    """To the client that started the master: there is no qshd, it should become ssh(1)."""

    line: Text


FromMaster = Welcome | SessionOpened | Refused | Exited | Answered | Lost | PathReport | UseSsh

# -- from a client -------------------------------------------------------------------------------


class SessionRequest(Message, frozen=True, tag="session"):
    """Open this channel. Without a terminal its standard input, output and error come along.

    One for a terminal that runs (``attach``) takes the place of what this client asked for before.
    """

    open: Open
    request: Count = 0
    """The client's choice, said with the answers."""
    x11: bool = False
    """The channel's programs may call the master's display; ``open.agent``: its agent."""


class StdioRequest(Message, frozen=True, tag="stdio"):
    """Lead standard input and output, which come along, to this target."""

    target: Target


class ForwardRequest(Message, frozen=True, tag="forward"):
    """Begin a forward, or end one, as ssh_config(5) has it."""

    kind: Literal["local", "dynamic", "remote"]
    cancel: bool = False
    listen_host: Host | None = None
    listen_port: Port = 0
    listen_path: Path | None = None
    connect_host: Host | None = None
    connect_port: Port = 0
    connect_path: Path | None = None
    udp: bool = False
    """Datagrams (docs/protocol.md 12)."""


class Ask(Message, frozen=True, tag="ask"):
    """``-O``: is the master there, what does it do, should it end."""

    what: Literal["check", "exit", "stop", "conninfo", "channels"]


class Attend(Message, frozen=True, tag="attend"):
    """No program (-N): the connection is wanted as long as this client is there."""


class HangUp(Message, frozen=True, tag="hangup"):
    """The user has ended the session: what runs for it gets SIGHUP."""


class Done(Message, frozen=True, tag="done"):
    """The terminal has ended, or its user has left it: there is nothing to hang up."""


Request = SessionRequest | StdioRequest | ForwardRequest | Ask | Attend | HangUp | Done

DESCRIPTORS: Final[dict[type[Message], int]] = {SessionRequest: 3, StdioRequest: 2}
"""So many come with a request (none with a SessionRequest for a terminal)."""
