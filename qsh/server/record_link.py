"""The session host's side of recordings: what a terminal puts out goes to the recorder, a process that is not the user's.

A disk may be slow or full, the recorder may be killed. Nothing here waits: what the socket does not take is queued, and if that
is too much, ``QshRecord open`` leaves output out and has that said in the recording, while ``closed`` has the terminal read no
further until there is room, and gives up after a time. Keys go on meanwhile.
"""

from __future__ import annotations

import socket
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import Meta

from qsh.clock import monotonic_s
from qsh.errors import RemoteProtocolError
from qsh.server.event_loop import READ, WRITE
from qsh.server.packets import PacketSocket
from qsh.server.requests import MAX_PACKET, Local, encode  # msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.event_loop import EventLoop

__all__ = [
    "Begin",
    "Begun",
    "Failed",
    "Finish",
    "Joined",
    "LeftOut",
    "RecordAnswer",
    "RecordLink",
    "RecordRequest",
    "RecorderEnd",
    "Recording",
    "Sized",
    "Wrote",
]

BACKLOG: Final = 1 << 20
"""Bytes that may wait for the recorder besides those in the socket."""
TYPED_BACKLOG: Final = 4 * BACKLOG
"""Keys that are recorded cannot be held up: if they are so far behind, the recorder counts as dead."""
PACKET_COST: Final = 256
"""Of memory, for a packet of any size."""
BEGIN_S: Final = 10.0
"""A session that must be recorded begins within this, or not at all."""
STUCK_S: Final = 30.0
"""``closed``: how long a recorder may take nothing of what waits for it."""
CLOSE_S: Final = 5.0
"""How long each packet that is queued at the end of the host may take."""
_MSG_NOSIGNAL: Final = int(socket.MSG_NOSIGNAL)

Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Size = Annotated[int, Meta(ge=1, le=0xFFFF)]


class Begin(Local, frozen=True, tag="begin"):
    """A terminal begins: answered by Begun or Failed."""

    number: Number
    at_s: float
    rows: Size
    cols: Size
    term: Annotated[str, Meta(max_length=256)]
    command: Annotated[bytes, Meta(max_length=MAX_PACKET)] = b""


class Wrote(Local, frozen=True, tag="wrote"):
    """It has put this out, or it was typed."""

    number: Number
    at_s: float
    data: Annotated[bytes, Meta(max_length=MAX_PACKET)]
    typed: bool = False


class Sized(Local, frozen=True, tag="sized"):
    """It has another size."""

    number: Number
    at_s: float
    rows: Size
    cols: Size


class Joined(Local, frozen=True, tag="joined"):
    """A client has attached to it, from this address: who shares a session, or goes on with it, need not be who began it."""

    number: Number
    at_s: float
    address: Annotated[str, Meta(max_length=64)]


class LeftOut(Local, frozen=True, tag="left-out"):
    """So many bytes of its output could not be passed on."""

    number: Number
    at_s: float
    count: Annotated[int, Meta(ge=1, le=2**53)]


class Finish(Local, frozen=True, tag="finish"):
    """It has ended."""

    number: Number
    at_s: float


RecordRequest = Begin | Wrote | Sized | Joined | LeftOut | Finish


class Begun(Local, frozen=True, tag="begun"):
    """The file is there."""

    number: Number


class Failed(Local, frozen=True, tag="not-recorded"):
    """It is not, or could not be written: nothing more is recorded of this terminal."""

    number: Number


RecordAnswer = Begun | Failed


class RecorderEnd(NamedTuple):
    """What a session host gets of its recorder."""

    sock: socket.socket
    closed: bool
    """Fail-closed: what cannot be recorded must not be."""
    typed: bool
    """Keys are recorded too."""
    complain: Callable[[str], None]


@dataclass(eq=False, slots=True)
class Recording:
    """One terminal's. ``failed`` is called when it must not go on because it cannot be recorded; ``room`` when it may be read
    again.
    """

    link: RecordLink
    number: int
    size: tuple[int, int]
    failed: Callable[[], None] = lambda: None
    room: Callable[[], None] = lambda: None
    left_out: int = 0
    over: bool = False

    @property
    def holds(self) -> bool:
        """No more is to be read of the terminal for now."""
        return self.link.is_full and self.link.closed and not self.over

    def output(self, now: float, data: bytes) -> None:
        """Read from the terminal."""
        if self.over:
            return
        if self.link.is_full and not self.link.closed:
            if not self.left_out:
                self.link.lags()
            self.left_out += len(data)
            return
        self._own_up(now)
        self.link.send(Wrote(self.number, now, data))

    def typed(self, now: float, data: bytes) -> None:
        """Written to the terminal for a client."""
        if self.link.typed and not self.over and (self.link.closed or not self.link.is_full):
            self.link.send(Wrote(self.number, now, data, typed=True))

    def resized(self, now: float, rows: int, cols: int) -> None:
        """The terminal's size is this."""
        if not self.over and (rows, cols) != self.size:
            self.size = (rows, cols)
            self.link.send(Sized(self.number, now, rows, cols))

    def joined(self, now: float, address: str) -> None:
        """A client has come."""
        if not self.over:
            self.link.send(Joined(self.number, now, address[:64]))

    def end(self) -> None:
        """Nothing more will come. Idempotent."""
        if self.over:
            return
        now = monotonic_s()
        self._own_up(now)
        self.link.send(Finish(self.number, now))
        self.over = True
        self.link.ended(self)

    def _own_up(self, now: float) -> None:
        if self.left_out:
            count, self.left_out = self.left_out, 0
            self.link.send(LeftOut(self.number, now, count))


class _Waiting(NamedTuple):
    recording: Recording
    due_s: float
    ready: Callable[[Recording | None], None]
    refuse: Callable[[], None]


class RecordLink:
    """To one recorder, for all terminals of a session host."""

    def __init__(self, loop: EventLoop, end: RecorderEnd) -> None:
        self.closed, self.typed = end.closed, end.typed
        self._loop, self._complain = loop, end.complain
        self._packets: PacketSocket[RecordAnswer] = PacketSocket(end.sock, RecordAnswer)
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._taken_s = 0.0
        """When the recorder took something last, while anything waits."""
        self._numbers = 0
        self._recordings: dict[int, Recording] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._dead = False
        self._lags = False
        self._watch()

    @property
    def is_full(self) -> bool:
        """What waits for the recorder is as much as may."""
        return self._queued > BACKLOG

    def begin(
        self,
        size: tuple[int, int],
        term: str,
        command: bytes,
        ready: Callable[[Recording | None], None],
        refuse: Callable[[], None],
    ) -> None:
        """Record a terminal of ``size`` that is to be started; exactly one of the two is called, now or later.

        ``ready`` gets None where nothing is recorded and that is no reason not to start.
        """
        now = monotonic_s()
        self._numbers += 1
        recording = Recording(self, self._numbers, size)
        if not self._dead:
            self._recordings[recording.number] = recording
            self.send(Begin(recording.number, now, *size, term[:256], command))
        if self._dead and self.closed:
            refuse()
        elif self._dead:
            ready(None)
        elif self.closed:
            self._waiting[recording.number] = _Waiting(recording, now + BEGIN_S, ready, refuse)
        else:
            ready(recording)

    # -- what goes out -------------------------------------------------------------------------

    def send(self, message: RecordRequest) -> None:
        """Send or queue."""
        if self._dead:
            return
        data = encode(message)
        if not self._queue:
            try:
                self._packets.sock.send(data, _MSG_NOSIGNAL)
            except BlockingIOError:
                self._taken_s = monotonic_s()
            except OSError:
                return  # it has ended, which the loop will tell: who sends is in the middle of something
            else:
                return
        self._queue.append(data)
        self._queued += len(data) + PACKET_COST
        self._watch()

    def _flush(self) -> None:
        was_full = self.is_full
        while self._queue:
            try:
                self._packets.sock.send(self._queue[0], _MSG_NOSIGNAL)
            except BlockingIOError:
                break
            self._taken_s = monotonic_s()
            self._queued -= len(self._queue.popleft()) + PACKET_COST
        if was_full and not self.is_full:
            for recording in list(self._recordings.values()):
                recording.room()

    def lags(self) -> None:
        """Output is left out: told once."""
        if not self._lags:
            self._lags = True
            self._complain("recording: the recorder is behind, some output will be missing")

    def ended(self, recording: Recording) -> None:
        """It needs no news any more."""
        self._recordings.pop(recording.number, None)

    # -- what comes ----------------------------------------------------------------------------

    def _watch(self) -> None:
        if not self._dead:
            self._loop.watch(
                self._packets.fileno(), READ | (WRITE if self._queue else 0), self._ready
            )

    def _ready(self, events: int) -> None:
        try:
            if events & WRITE:
                self._flush()
            if events & READ:
                while not self._dead and (received := self._packets.receive()) is not None:
                    self._take(received[0])
        except (EOFError, OSError, RemoteProtocolError):
            self._die("the recorder has ended")
        self._watch()

    def _take(self, answer: RecordAnswer) -> None:
        waiting = self._waiting.pop(answer.number, None)
        if isinstance(answer, Failed):
            self._give_up(answer.number, waiting)
        elif waiting is not None:
            waiting.ready(waiting.recording)

    def _give_up(self, number: int, waiting: _Waiting | None) -> None:
        recording = self._recordings.pop(number, None)
        if recording is None:
            return
        recording.over = True
        if waiting is not None:
            waiting.refuse()
        elif self.closed:
            recording.failed()
        else:
            recording.room()

    def _die(self, reason: str) -> None:
        """Nothing is recorded any more, of any terminal."""
        if self._dead:
            return
        self._dead = True
        self._loop.forget(self._packets.fileno())
        self._packets.close()
        self._queue.clear()
        self._queued = 0
        if self._recordings:
            what = "sessions end that must be recorded" if self.closed else "sessions go on"
            self._complain(f"recording: {reason}; {what}")
        waiting, self._waiting = self._waiting, {}
        for number in list(self._recordings):
            self._give_up(number, waiting.get(number))

    # -- time ----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When :meth:`expire` is due."""
        times = [waiting.due_s for waiting in self._waiting.values()]
        if self._queued > TYPED_BACKLOG:
            times.append(0.0)
        if self.closed and self._queue:
            times.append(self._taken_s + STUCK_S)
        return min(times, default=None)

    def expire(self, now: float) -> None:
        """A deadline may have come."""
        if self._queued > TYPED_BACKLOG:
            self._die("the recorder is too far behind")
        elif self.closed and self._queue and now >= self._taken_s + STUCK_S:
            self._die(f"the recorder has taken nothing for {STUCK_S:g} s")
        for number, waiting in list(self._waiting.items()):
            if now >= waiting.due_s and self._waiting.pop(number, None) is not None:
                self._complain(f"recording: the recorder has not begun within {BEGIN_S:g} s")
                self._give_up(number, waiting)

    def close(self) -> None:
        """The host ends, and has nothing else to do: what is queued gets a while to be taken."""
        if self._dead:
            return
        self._dead = True
        self._loop.forget(self._packets.fileno())
        self._packets.sock.settimeout(CLOSE_S)
        try:
            for data in self._queue:
                self._packets.sock.send(data, _MSG_NOSIGNAL)
        except OSError:
            self._complain("recording: the end of a session is missing")
        self._packets.close()
