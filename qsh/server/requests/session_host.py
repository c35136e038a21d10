"""Front and session host: channels, forwards, calls."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from qsh.server.requests.fields import Channel, Count, Listener, Local, Text
from qsh.wire.messages import MAX_COMMAND, X11, Attach, Pty, Target

__all__ = [
    "Accepted",
    "Call",
    "CallEnded",
    "CallKind",
    "Called",
    "ChannelFailed",
    "ChannelOpened",
    "Connect",
    "Connected",
    "Exited",
    "HangUp",
    "HostAnswer",
    "HostRequest",
    "ListenOn",
    "ListensOn",
    "OpenChannel",
    "PathState",
    "Released",
    "Resize",
    "SendSignal",
    "StopListening",
]


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
