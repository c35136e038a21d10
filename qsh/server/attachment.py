"""One client's view of a terminal: what it has, what it is sent next, what it typed (docs/protocol.md 10). No I/O.

:class:`TerminalSession` calls :meth:`Attachment.receive_stream` and :meth:`Attachment.receive_datagram` with what came,
:meth:`Attachment.output` after each reading of the terminal, :meth:`Attachment.update` before it waits, and sends what lies in
``stream`` and ``datagrams``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from qsh.server.history_fetches import HistoryFetches
from qsh.server.one_shots import OneShots
from qsh.server.painting import Painting
from qsh.server.resize_pace import ResizePace
from qsh.session.flow_control import OUTAGE_BYTES, FlowControl, Mode
from qsh.session.frame_parts import cut
from qsh.session.outage import Outage
from qsh.session.repetition import Repetition
from qsh.terminal.screen import MODE_ALTERNATE
from qsh.wire.terminal import (
    MAX_DATA,
    Attached,
    ClientFrame,
    Detach,
    Detached,
    EndedAck,
    Event,
    FetchHistory,
    Frame,
    Input,
    Note,
    Output,
    Repaint,
    Report,
    Resized,
    SendBreak,
    TerminalDecoder,
    decode_datagram,
    encode,
    encode_datagram,
)

if TYPE_CHECKING:
    from qsh.server.terminal_model import TerminalModel
    from qsh.session.input_log import ClientInput
    from qsh.wire.messages import Attach
    from qsh.wire.terminal import Base, TtyState

__all__ = ["Attachment", "Owner"]

MAX_CLIENT_FRAME: Final = 128 * 1024
DATAGRAM_DATA: Final = 960
"""Bytes of output in a datagram: with offsets and the terminal's state it fits."""
NOTE_DELAY_S: Final = 0.004
"""The echo of what was typed is likely to come: one message instead of two."""
ANSWER_AGAIN_S: Final = 0.005
RESUME_BYTES: Final = 64 * 1024
OVERTAKE_MAX: Final = 10
"""Datagrams of raw output at a time after an outage: an initial window."""
SILENT_S: Final = 5.0
"""A client that has not acknowledged output for so long does not count for the terminal's size."""
DATAGRAM_KIND: Final[Any] = Input | Report


class Owner(Protocol):
    """What an attachment asks of its terminal."""

    def typed(self, attachment: Attachment, data: bytes) -> None:
        """Write to the terminal."""

    def resized(self) -> None:
        """An attachment has another size."""

    def send_break(self) -> None:
        """A break on the line."""

    def end_delivered(self) -> None:
        """The exit status has arrived."""


class Attachment:
    """One client, from Attached to Detached or the end of its stream."""

    def __init__(
        self,
        now: float,
        owner: Owner,
        model: TerminalModel,
        typed: ClientInput,
        request: Attach,
        size: tuple[int, int, int, int],
    ) -> None:
        self.client = request.client
        self.host = request.host
        self.read_only = request.read_only
        self.input = typed
        self.stream: deque[bytes] = deque()
        """Frames to be sent in order."""
        self.datagrams: deque[bytes] = deque()
        """To be sent if they can be sent at once."""
        self.started = False
        """Attached was sent."""
        self.over = False
        """Nothing will follow what is in ``stream``."""
        self.size = size
        """Rows, columns and pixels of the client's window."""
        self.may_pass = False
        """It is the one that gets raw output if it keeps up; the terminal decides."""
        self.fault = ""
        """Why it was ended, if its client broke the protocol; for the log."""
        self.delivered_end = False
        self._owner, self._model = owner, model
        self._decoder: TerminalDecoder[Any] = TerminalDecoder(ClientFrame, MAX_CLIENT_FRAME)
        self.flow = FlowControl(now, 0, exact=request.exact)
        self._copies = Repetition(now)
        self._loss_ppm = 0
        self._outage = Outage(now)
        self._at_once = False
        """A frame is to go now, whatever is under way."""
        self._paintings = 0
        """Sent in datagrams."""
        self._overtaken = 0
        """Output up to here has been, raw or painted."""
        self._raw_from = 0
        """Raw output is contiguous from here: datagrams may bring it."""
        self._painting = Painting(model)
        self._note_at: float | None = None
        self._notes_until = now
        self._told: tuple[int, int, int] = (-1, -1, -1)
        """applied, settled and the terminal state's serial as last sent on the stream."""
        self._answered_at = now
        self._resizes = ResizePace(now)
        self._fetches = HistoryFetches()
        self._one_shots = OneShots()

    @property
    def silent_at(self) -> float | None:
        """When it counts as dead unless it shows what it was sent; None: it has shown all."""
        since = self.flow.waiting_since
        return None if since is None else since + SILENT_S

    @property
    def passing(self) -> bool:
        """It gets raw output: its terminal answers the programs' questions."""
        return self.flow.mode is Mode.PASS and not self.over

    # -- beginning and end ---------------------------------------------------------------------

    def start_new(self, attached: Attached) -> None:
        """A new terminal: every byte of it, as the client's terminal stands."""
        self._send(attached)
        self.started = self.may_pass = True

    def start(self, now: float, attached: Attached, request: Attach, *, resumes: bool) -> None:
        """A running terminal: where it was, if the log has it, else by a painting."""
        model = self._model
        consumed = request.consumed if resumes else None
        if consumed is None or not 0 <= consumed <= model.end:
            start = min(model.screen.boundary, model.end)
            history = model.screen.history_end - request.history_lines
            self._painting.begin(max(history, model.screen.history_first))
        else:
            start = consumed
            self._painting.begin(model.history_at(consumed))
        self._place(now, start)
        if resumes:
            self._typed(self.input.from_datagram(request.typed_from, request.typed))
        self.started = True
        self._send(
            Attached(
                attached.name,
                attached.ticket,
                start,
                self.input.received,
                *model.size,
                attached.waiting,
            )
        )
        if consumed is not None:
            model.passed(consumed)
        if not self._can_resume(consumed):
            self.flow.start_skip(now)
        self._note_at = now

    def _can_resume(self, consumed: int | None) -> bool:
        model = self._model
        return (
            consumed is not None
            and self.may_pass
            and max(model.log.start, model.answered_to, model.end - RESUME_BYTES)
            <= consumed
            <= model.end
        )

    def _place(self, now: float, offset: int) -> None:
        exact = self.flow.exact
        self.flow = FlowControl(now, offset, exact=exact)
        self._raw_from = offset

    def put_out(self, reason: str) -> None:
        """End it; the programs go on."""
        if not self.over:
            self._send(Detached(reason))
            self.over = True

    # -- what comes ----------------------------------------------------------------------------

    def receive_stream(self, now: float, data: bytes) -> None:
        """Bytes from the client's stream. Raises RemoteProtocolError, after which the attachment must end."""
        was_lost = self._outage.heard(now, self.flow.oldest_at, self.flow.rtt_s)
        for message in self._decoder.receive(data):
            if self.over:
                return
            self._take(now, message)
        if was_lost:
            self._returned(now)

    def _take(self, now: float, message: Any) -> None:
        if isinstance(message, Input):
            self.flow_acknowledge(now, message.consumed)
            new = self.input.from_stream(message.offset, message.data)
            if new:
                self._resize(now, self._resizes.before_typed(now, self.input.applied))
            self._typed(new)
        elif isinstance(message, Report):
            self.flow_acknowledge(now, message.consumed)
            self._path(now, message.rtt_us)
        elif isinstance(message, Resized):
            self._resizes.ask(now, message)
        elif isinstance(message, Detach):
            self.put_out("requested")
        elif isinstance(message, FetchHistory):
            self._fetches.ask(message)
        elif isinstance(message, EndedAck):
            if self.delivered_end:
                self.over = True
                if not self.read_only:
                    self._owner.end_delivered()
        elif isinstance(message, Repaint):
            self.repaint(now)
        elif isinstance(message, SendBreak) and not self.read_only:
            self._owner.send_break()

    def receive_datagram(self, now: float, data: bytes, *, takes_input: bool = True) -> None:
        """One datagram: whatever is odd about it, it is dropped. ``takes_input``: the terminal's input is not full."""
        message = decode_datagram(data, DATAGRAM_KIND)
        if message is None or self.over or message.consumed > self.flow.sent:
            return
        was_lost = self._outage.heard(now, self.flow.oldest_at, self.flow.rtt_s)
        self.flow_acknowledge(now, message.consumed)
        if was_lost:
            self._returned(now)
        if isinstance(message, Report):
            self._path(now, message.rtt_us)
        elif takes_input:
            end = message.offset + len(message.data)
            new = self.input.from_datagram(message.offset, message.data)
            if new:
                self._typed(new)
            elif end <= self.input.applied and now >= self._answered_at + ANSWER_AGAIN_S:
                self._send_datagram(now)  # our answer was lost

    def _returned(self, now: float) -> None:
        self._outage.ended(now, self.flow.rtt_s)
        if self.flow.mode is Mode.PASS:
            self._overtake(now)
        elif self.flow.unconsumed:
            self._at_once = True

    def _overtake(self, now: float) -> None:
        """Raw output is on the stream, which is late: bring it by datagrams, or the screen instead if nothing is lost by that."""
        flow, model = self.flow, self._model
        in_place = bool(model.screen.modes & MODE_ALTERNATE)
        if in_place and self.flow.unconsumed > OUTAGE_BYTES and flow.may_skip(now):
            self._skip(now)
            self._at_once = True
            return
        state = self.input.applied, self.input.settled, model.tty
        start = max(flow.consumed, self._overtaken, self._raw_from, model.log.start)
        for _ in range(OVERTAKE_MAX):
            if start >= flow.sent:
                break
            data = model.log.read(start, min(DATAGRAM_DATA, flow.sent - start))
            self.datagrams.append(encode_datagram(Output(start, data, *state)))
            start += len(data)
        self._overtaken = start

    def flow_acknowledge(self, now: float, consumed: int) -> None:
        """The client shows the output up to ``consumed``. Raises RemoteProtocolError ``bad-offset``."""
        if not self.flow.acknowledge(now, consumed):
            return
        if self.flow.mode is Mode.PASS:
            self._model.passed(consumed)
        if self.flow.unconsumed == 0 and now >= self._notes_until:
            self._copies.acknowledged(now)
        else:
            self._copies.progressed(now)

    def _typed(self, data: bytes) -> None:
        if not data:
            return
        if self._stops_a_program(data):
            self.flow.interrupt()
        self._owner.typed(self, data)

    def _stops_a_program(self, data: bytes) -> bool:
        tty = self._model.tty
        if not tty.flags & 4:
            return False
        return any(key in data for key in (tty.intr, tty.quit, tty.susp) if key > 0)

    def _path(self, now: float, rtt_us: int) -> None:
        if rtt_us:
            self.path(now, rtt_us / 1e6, self._loss_ppm)

    def path(self, now: float, rtt_s: float, loss_ppm: int) -> None:
        """The connection's state as the front measures it."""
        self._loss_ppm = loss_ppm
        self.flow.path(now, rtt_s)
        self._copies.rtt(rtt_s)
        self._copies.loss(loss_ppm)

    def applied(self, now: float) -> None:
        """More of its input is in the terminal: the output will tell, or a note soon."""
        self._note_by(now + NOTE_DELAY_S)

    def changed(self, now: float) -> None:
        """``settled`` or the terminal's state has changed: a note, unless output goes out right now."""
        self._note_by(now)

    def _note_by(self, when: float) -> None:
        self._note_at = when if self._note_at is None else min(self._note_at, when)

    # -- output --------------------------------------------------------------------------------

    def output(self, now: float, size: int, events: list[tuple[str, int, bytes]]) -> None:
        """The terminal put out ``size`` bytes; ``events``: what happened in them."""
        if events:
            if any(kind == "graphics" for kind, _, _ in events):
                self.flow.graphics(now)
            if self.flow.mode is Mode.SKIP and self._one_shots.keep(events):
                self._painting.forget_history()
        if self.flow.mode is Mode.SKIP:
            self.flow.produced(now, size)

    def repaint(self, now: float) -> None:
        """The client's terminal shows something else: paint all, then go on."""
        if self.flow.mode is Mode.PASS:
            self._send_raw(now)  # what has left the screen by now is not painted
            self._skip(now)
        self._painting.begin(self._model.screen.history_end)
        self.flow.changed(now)

    def _skip(self, now: float) -> None:
        self._model.passed(self.flow.sent)  # raw output under way: the client's terminal answers
        self.flow.start_skip(now)
        self._painting.begin(self._model.screen.history_end)
        self._one_shots.take()  # they were in the raw output

    def update(self, now: float) -> None:
        """Send what is due."""
        if self.over or not self.started:
            return
        self._resize(now, self._resizes.due(now, self.input.applied))
        if self.flow.mode is Mode.PASS:
            self._send_raw(now)
            if not self.may_pass or self.flow.wants_skip(now):
                self._skip(now)
        if self.flow.mode is Mode.SKIP:
            self._paint(now)
        if self._note_at is not None and now >= self._note_at:
            self._send_note(now)
        if self._copies.due(now):
            self._repeat(now)
        if self._fetches and not self.stream:
            self._send(self._fetches.next_part(self._model.screen))
        self._send_end()

    def _state(self) -> tuple[int, int, TtyState | None]:
        applied, settled, tty = self.input.applied, self.input.settled, self._model.tty
        news = tty if tty.serial != self._told[2] else None
        self._told = (applied, settled, tty.serial)
        return applied, settled, news

    def _send_raw(self, now: float) -> None:
        end = self._model.end
        if self.flow.sent == end:
            return
        while self.flow.sent < end:
            start = self.flow.sent
            data = self._model.log.read(start, MAX_DATA)
            size = self._send(Output(start, data, *self._state()))
            self.flow.send(now, start + len(data), size)
        self._note_at = None
        if self.flow.unconsumed <= DATAGRAM_DATA:
            self._copies.sent(now, self._send_datagram(now))
        else:
            self._copies.acknowledged(now)  # too much for datagrams: the stream brings it
            if self._outage.overtaking(now):
                self._overtake(now)

    def _send_note(self, now: float) -> None:
        self._note_at = None
        state = (self.input.applied, self.input.settled, self._model.tty.serial)
        if state == self._told:
            return
        self._send(Note(self.flow.sent, *self._state()))
        self._notes_until = now + min(1.5 * self.flow.rtt_s, 1.0) if self._loss_ppm else now
        self._copies.sent(now, self._send_datagram(now))

    def _repeat(self, now: float) -> None:
        waiting = self.flow.mode is Mode.PASS and 0 < self.flow.unconsumed <= DATAGRAM_DATA
        if not waiting and now >= self._notes_until:
            self._copies.acknowledged(now)
        else:
            self._copies.repeated(now, self._send_datagram(now))

    def _send_datagram(self, now: float) -> int:
        """All output that the client has not acknowledged, if it fits, and the state; its size."""
        model, flow = self._model, self.flow
        start = max(flow.consumed, self._raw_from)
        state = self.input.applied, self.input.settled, model.tty
        if flow.mode is Mode.PASS and 0 < flow.sent - start <= DATAGRAM_DATA:
            data = model.log.read(start, flow.sent - start)
            packet = encode_datagram(Output(start, data, *state))
        else:
            packet = encode_datagram(Note(flow.sent, *state))
        self.datagrams.append(packet)
        self._answered_at = now
        return len(packet)

    # -- frames --------------------------------------------------------------------------------

    def _paint(self, now: float) -> None:
        final = self._may_end_skip(now)
        due = self.flow.frame_due_at()
        late = self._at_once or (due is not None and now >= due)
        if not final and (not late or self._model.synchronising(now) is not None):
            return
        drawn = self._painting.draw(
            now,
            self.flow.sent,
            self.flow.rate_bytes_s,
            final=final,
            window=self.size[:2],
            exact=self.flow.exact,
        )
        if drawn is None:
            if self._at_once and self._model.screen.boundary == self.flow.sent:
                self._send_parts(self.flow.sent)  # the frame that shows it is on the stream already
            return
        if self._at_once or (self._outage.overtaking(now) and drawn.offset > self._overtaken):
            self._send_parts(drawn.offset)
        for data in self._one_shots.take():
            self._send(Event(data))
        size = 0
        for part in drawn.parts[:-1]:
            size += self._send(Frame(self.flow.sent, self.flow.sent, part))
        size += self._send(
            Frame(
                self.flow.sent,
                drawn.offset,
                drawn.parts[-1],
                *self._state(),
                drawn.skipped_first,
                drawn.skipped_end,
                final,
            )
        )
        self._note_at = None
        self.flow.framed(now, drawn.offset, size)
        if final:
            self.flow.start_pass()
            self._raw_from = drawn.offset
            self._send_raw(now)

    def _send_parts(self, offset: int) -> None:
        """The screen in datagrams, for whatever the client's terminal shows."""
        self._at_once, self._overtaken = False, offset
        consumed = self.flow.consumed
        painting, skipped = self._painting.whole(self._model.history_at(consumed), self.size[:2])
        self._paintings += 1
        parts = cut(painting, consumed, offset, self._paintings, skipped)
        state = self.input.applied, self.input.settled, self._model.tty
        self.datagrams += map(encode_datagram, [*parts, Note(offset, *state)])

    def _may_end_skip(self, now: float) -> bool:
        return (
            self.may_pass
            and self._painting.at_boundary(self.flow.sent)
            and self._model.synchronising(now) is None
            and self.flow.wants_pass(now)
        )

    # -- the rest ------------------------------------------------------------------------------

    def _resize(self, now: float, wanted: Resized | None) -> None:
        if wanted is not None and wanted.rows and wanted.cols:
            self.size = (wanted.rows, wanted.cols, wanted.xpixel, wanted.ypixel)
            self._owner.resized()
            if self.flow.mode is Mode.SKIP:
                self.flow.changed(now)  # the screen may be as before, but not where it stands

    def _send_end(self) -> None:
        ended = self._model.ended
        if ended is None or self.delivered_end:
            return
        painted = self._painting.painted and self.flow.sent >= self._model.end
        if self.flow.mode is Mode.SKIP and not painted:
            return
        self.delivered_end = True
        self._send(ended)

    def _send(self, message: Base) -> int:
        frame = encode(message)
        self.stream.append(frame)
        return len(frame)

    def deadline(self, now: float) -> float | None:
        """When :meth:`update` has something to do, if nothing happens; None: never."""
        if self.over or not self.started:
            return None
        times = [self.flow.deadline(now), self._copies.deadline, self._note_at]
        if self.flow.mode is Mode.SKIP:
            times += [self._model.synchronising(now), self._painting.retry_at(now)]
        times.append(self._resizes.deadline(self.input.applied))
        return min((when for when in times if when is not None), default=None)
