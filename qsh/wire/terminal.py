"""Messages of a terminal channel (docs/protocol.md 10): between the client and the session host, which the front relays unread.

MessagePack arrays whose first item is the type's number. On the stream each goes in a frame (:func:`encode`,
:class:`TerminalDecoder`), in a datagram alone (:func:`encode_datagram`). Offsets are absolute: of output, bytes read from the
terminal since it was made; of input, bytes that this client (``client`` in Attach) has typed.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from qsh.errors import RemoteProtocolError

__all__ = [
    "Attached",
    "ClientFrame",
    "Detach",
    "Detached",
    "Ended",
    "EndedAck",
    "Event",
    "FetchHistory",
    "Frame",
    "FramePart",
    "HistoryLines",
    "HostDatagram",
    "HostFrame",
    "Input",
    "Note",
    "Output",
    "Repaint",
    "Report",
    "Resized",
    "SendBreak",
    "TerminalDecoder",
    "TtyState",
    "decode_datagram",
    "encode",
    "encode_datagram",
]

MAX_DATA: Final = 64 * 1024
"""Bytes of terminal data in one message."""
MAX_FRAME: Final = 1 << 20
"""Bytes of one message on the stream: a full paint of the largest screen with history before it."""
MAX_DATAGRAM: Final = 1100
"""Bytes of one datagram without the flow's number: fits the smallest QUIC packet."""
PART_DATA: Final = 1040
"""Bytes of a painting in one datagram."""
MAX_PARTS: Final = 48
"""A painting in datagrams has no more: it would be no sooner there than by the stream."""

Offset = Annotated[int, Meta(ge=0, le=2**62)]
Count = Annotated[int, Meta(ge=0, le=0xFFFF)]
Text = Annotated[str, Meta(max_length=4096)]
Data = Annotated[bytes, Meta(max_length=MAX_DATA)]


# -- client to host ------------------------------------------------------------------------------


class Base(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Base of all messages."""


class Input(Base, frozen=True, tag=1):
    """Typed bytes. On the stream contiguous; in a datagram any range that begins at or before what the host has."""

    offset: Offset
    data: Data
    consumed: Offset = 0


class Report(Base, frozen=True, tag=2):
    """Output shown so far, and the client's view of the path."""

    consumed: Offset
    rtt_us: Annotated[int, Meta(ge=0, le=2**40)] = 0


class Resized(Base, frozen=True, tag=3):
    """The window's size, from this input offset on."""

    input_offset: Offset
    rows: Count
    cols: Count
    xpixel: Count = 0
    ypixel: Count = 0


class Detach(Base, frozen=True, tag=4):
    """The user leaves, the programs stay; answered by :class:`Detached`."""


class FetchHistory(Base, frozen=True, tag=5):
    """Lines [first, end) that scrolled off; answered by :class:`HistoryLines`, possibly several."""

    number: Count
    first: Offset
    end: Offset


class EndedAck(Base, frozen=True, tag=6):
    """The exit status has arrived; the host may forget it."""


class Repaint(Base, frozen=True, tag=7):
    """The client's terminal shows something else by now (suspended, other program): paint all."""


class SendBreak(Base, frozen=True, tag=8):
    """A break on the terminal line (``~B``)."""


ClientFrame = Input | Report | Resized | Detach | FetchHistory | EndedAck | Repaint | SendBreak

# -- host to client ------------------------------------------------------------------------------


class TtyState(Struct, frozen=True, array_like=True):
    """What the remote terminal does with typed keys, as tcgetattr(3) on the master tells it."""

    serial: Offset
    """Counts changes; the higher one is the newer."""
    flags: Annotated[int, Meta(ge=0, le=0xFFFF)]
    """ECHO 1, ICANON 2, ISIG 4, ECHOE 8, ECHOK 16, ECHOCTL 32, IEXTEN 64, ICRNL 128, IXON 256, IUTF8 512, ECHOKE 1024."""
    erase: int
    kill: int
    werase: int
    eof: int
    lnext: int
    reprint: int
    intr: int
    quit: int
    susp: int
    """Control characters; -1 where disabled."""
    group: Offset
    """Counts changes of the foreground process group."""
    program: Annotated[str, Meta(max_length=64)]
    """Its leader's name (/proc/PID/comm), for learning; empty when not to be told."""


class Output(Base, frozen=True, tag=17):
    """Bytes of output. On the stream contiguous; in a datagram any range."""

    offset: Offset
    data: Data
    applied: Offset = 0
    """Input written to the terminal when the last byte was read."""
    settled: Offset = 0
    """Input to which the program has had time to react: what it shows of it is in the output up to here."""
    tty: TtyState | None = None
    """Where it changed; in datagrams always."""


class Note(Base, frozen=True, tag=18):
    """The same without output; true once the client's terminal shows ``offset``."""

    offset: Offset
    applied: Offset
    settled: Offset
    tty: TtyState | None = None


class Frame(Base, frozen=True, tag=19):
    """A painting that takes the place of the output [start, offset): ordinary terminal bytes."""

    start: Offset
    offset: Offset
    data: Annotated[bytes, Meta(max_length=MAX_FRAME - 256)]
    applied: Offset = 0
    settled: Offset = 0
    tty: TtyState | None = None
    skipped_first: Offset = 0
    skipped_end: Offset = 0
    """Lines of history that were not sent: to be fetched."""
    final: bool = False
    """Raw output follows."""


class Ended(Base, frozen=True, tag=20):
    """The program's end, behind its last output; repeated to whoever attaches until acknowledged."""

    offset: Offset
    status: int | None = None
    signal: Annotated[str, Meta(max_length=64)] | None = None
    core_dumped: bool = False


class HistoryLines(Base, frozen=True, tag=21):
    """A part of what was asked for: each line its text with SGR, and whether it goes on in the next."""

    number: Count
    first: Offset
    lines: Annotated[list[tuple[Data, bool]], Meta(max_length=20000)]
    oldest: Offset
    newest: Offset
    last: bool = True
    """No more parts."""


class Attached(Base, frozen=True, tag=22):
    """First message of the host: which terminal this is, and where both directions go on."""

    name: Annotated[str, Meta(max_length=64)]
    ticket: Annotated[bytes, Meta(min_length=16, max_length=16)]
    start: Offset
    """Output begins here. For a resume the client's own ``consumed``."""
    received: Offset
    """Input of this client that the host has: the rest is to be sent again."""
    rows: Count
    cols: Count
    waiting: list[Text] = []
    """A line for each detached session of the user that waits."""


class Detached(Base, frozen=True, tag=23):
    """Last message: the programs go on without this client. ``requested``, ``taken``, ``by-command``, ``killed``,
    ``not-recorded``."""

    reason: Text = ""


class Event(Base, frozen=True, tag=24):
    """A one-shot sequence (bell, clipboard, notification) of the skipped output, to be passed on as it is."""

    data: Data


class FramePart(Base, frozen=True, tag=25):
    """In datagrams only: a piece of a painting of the whole screen, for whatever the client's terminal shows.

    The pieces of one ``number``, in order, are the painting, deflated (RFC 1950). A Frame on the stream ends at the same
    ``offset``.
    """

    start: Offset
    """Output that the client had reported when it was made."""
    offset: Offset
    number: Annotated[int, Meta(ge=0, le=2**32)]
    index: Annotated[int, Meta(ge=0, lt=MAX_PARTS)]
    count: Annotated[int, Meta(ge=1, le=MAX_PARTS)]
    data: Annotated[bytes, Meta(max_length=MAX_DATAGRAM)]
    skipped_first: Offset = 0
    skipped_end: Offset = 0
    """As in Frame."""


HostFrame = Output | Note | Frame | Ended | HistoryLines | Attached | Detached | Event
HostDatagram = Output | Note | FramePart

_encode: Final = msgspec.msgpack.Encoder().encode
_HEADER: Final = 4
T = TypeVar("T")


def encode(message: Base) -> bytes:
    """One frame for the stream: a 32-bit big-endian length and the message."""
    payload = _encode(message)
    return len(payload).to_bytes(_HEADER, "big") + payload


def encode_datagram(message: Base) -> bytes:
    """The message alone."""
    return _encode(message)


_decoders: Final[dict[Any, Any]] = {}


def _decoder(kind: Any) -> Any:
    """Made once for each union: it costs 0.1 ms and, in a session host, pages of its own."""
    found = _decoders.get(kind)
    if found is None:
        found = _decoders[kind] = msgspec.msgpack.Decoder(kind).decode
    return found


def decode_datagram(data: bytes, kind: Any) -> Any:
    """A message of the union ``kind``, or None for anything else: datagrams are never worth an error."""
    try:
        return _decoder(kind)(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class TerminalDecoder(Generic[T]):
    """Stream bytes in, messages of the union ``kind`` out.

    Raises RemoteProtocolError: ``message-too-large``, ``bad-message``; after that it must not be fed again.
    """

    def __init__(self, kind: Any, limit: int = MAX_FRAME) -> None:
        self._decode = _decoder(kind)
        self._buffer = bytearray()
        self._limit = limit

    def receive(self, data: bytes) -> list[T]:
        """All messages that are whole now."""
        buffer = self._buffer
        buffer += data
        found: list[T] = []
        at = 0
        while len(buffer) - at >= _HEADER:
            size = int.from_bytes(buffer[at : at + _HEADER], "big")
            if size > self._limit:
                raise RemoteProtocolError(
                    "message-too-large", f"{size} bytes, {self._limit} allowed"
                )
            end = at + _HEADER + size
            if len(buffer) < end:
                break
            try:
                found.append(self._decode(memoryview(buffer)[at + _HEADER : end]))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise RemoteProtocolError("bad-message", str(error)) from None
            at = end
        del buffer[:at]
        return found
