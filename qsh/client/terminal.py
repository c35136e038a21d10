"""The client's edge of one persistent terminal (docs/protocol.md 10): stream, datagrams, keys and the user's terminal.

It outlives connections: when one is lost, the user is told in a line at the top of the screen, keys are kept, and another
connection goes on where the host and the user's terminal stand.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from qsh.client.input import WAITING_BYTES, Keys
from qsh.client.link import ABANDONED
from qsh.client.log import log
from qsh.client.output import TerminalOutput
from qsh.client.resume import is_final, reason_of
from qsh.client.text import visible
from qsh.client.tty import window_size
from qsh.errors import (
    ChannelError,
    ConnectionLost,
    QshError,
    RemoteProtocolError,
    StreamReset,
)
from qsh.session.frame_parts import FrameParts
from qsh.session.probing import Probing
from qsh.session.repetition import Repetition
from qsh.session.typed_log import TypedLog
from qsh.terminal.display import Display
from qsh.terminal.escape import EscapeFilter, shown
from qsh.terminal.notice import Contact, line
from qsh.terminal.origin import QUERY, OriginFilter
from qsh.wire import flow
from qsh.wire.messages import Attach, Open
from qsh.wire.terminal import (
    MAX_DATA,
    MAX_DATAGRAM,
    Attached,
    Detach,
    Detached,
    Ended,
    EndedAck,
    Event,
    FetchHistory,
    Frame,
    FramePart,
    HistoryLines,
    HostDatagram,
    HostFrame,
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
    from collections.abc import Callable

    from qsh.channels.session import ClientChannel
    from qsh.client.link import Link
    from qsh.client.resume import Reopen
    from qsh.client.session import Plan
    from qsh.client.tty import Terminal
    from qsh.terminal.escape import Action
    from qsh.wire.messages import Pty
    from qsh.wire.terminal import Base

__all__ = ["RemoteTerminal"]

FAILED: Final = 255
REPORT_BYTES: Final = 16 * 1024
"""So much more on the screen is reported on the stream at once (docs/protocol.md 10.6)."""
REPORT_FAST_S: Final = 0.001
REPORT_FAST_BYTES: Final = 64 * 1024
"""Not sooner than that after the last one, unless so much is unsaid: each report costs a wake-up on both sides."""
REPORT_S: Final = 0.005
"""Less is reported in a datagram, after this time for more."""
SETTLED_REPORT_S: Final = 0.25
"""And on the stream, when nothing came for so long: a datagram may be lost."""
PATH_S: Final = 1.0
"""Between looks at the path's round trip and loss, while the terminal is used."""
PROBE_S: Final = 1.0
"""Silence after which a terminal in use asks whether the host is there."""
IN_USE_S: Final = 60.0
"""A terminal is in use for so long after a key or an output."""
WATCH_S: Final = 0.25
"""Between looks for a word while contact is lost."""
GRACE_S: Final = 0.5
"""A connection that is replaced so soon was no loss to speak of."""
SECOND_TRY_S: Final = 5.0
"""After so long without contact another connection is tried beside the old one, which may be forgotten over there."""
OWN_TAKING_S: Final = 60.0
"""Who is put out by "another client" so soon after it tried another connection was put out by itself."""
ACKNOWLEDGED_S: Final = 0.3
"""How long an ended client waits until the host has heard that the exit status arrived."""
DETACH_S: Final = 1.0
"""How long DETACHED is waited for."""
ORIGIN_S: Final = 2.0
"""How long the user's terminal may take to say where its cursor is."""
PROBE_BYTES: Final = 64
"""Typed bytes that a probe takes along."""
HEADER_BYTES: Final = 40
"""What a datagram has besides typed bytes, at most."""


class RemoteTerminal:
    """One terminal, from OPENED to its end or to the detaching."""

    def __init__(  # noqa: PLR0915 - state, line by line
        self,
        plan: Plan,
        client: bytes,
        local: Terminal,
        *,
        end: asyncio.Future[int],
        stdin: int = 0,
        act: Callable[[Action], None],
        pty: Callable[[], Pty],
        reopen: Reopen | None,
    ) -> None:
        """``end`` is done when the user ends the session; ``act`` takes escapes."""
        self._plan, self._client, self._local = plan, client, local
        self._end, self._pty, self._reopen = end, pty, reopen
        loop = asyncio.get_running_loop()
        self._loop, self._clock = loop, loop.time
        now = self._clock()
        self._display = _display(plan)
        asks = plan.prediction != "never" and plan.kind != "attach" and plan.stdin
        self._origin = OriginFilter() if asks else None
        self._output = TerminalOutput(plan.output, self._progressed)
        self._escape = "" if plan.escape is None else shown(plan.escape)
        keys = EscapeFilter(plan.escape, persistent=True)
        self._keys = Keys(
            stdin,
            keys,
            typed=self._typed,
            act=act,
            ended=self._input_ended,
            sift=None if self._origin is None else self._sift,
        )
        self._log = TypedLog()
        self._repetition, self._parts = Repetition(now), FrameParts()
        self._contact, self._probing = Contact(now), Probing()
        self.link: Link | None = None
        """The connection in use; the last one while there is none."""
        self._channel: ClientChannel | None = None
        """None: nobody hears us."""
        self._flow = b""
        self._sent = 0
        """Input on the present stream goes on here."""
        self.name = ""
        self._ticket = b""
        self.farewell: str | None = None
        """What to tell the user at the end instead of the usual line."""
        self._detaching = False
        self._left: asyncio.Future[None] = loop.create_future()
        """Done when the user has detached and nobody is waited for any more."""
        self._why = ""
        self._lost_s = now
        """When the last connection was lost."""
        self._told_packets = 0
        self._notice_on = False
        self._second: asyncio.Task[None] | None = None
        self._tried_s = -OWN_TAKING_S
        """When another connection was begun last: it may have got the terminal after we gave it up."""
        self._replaced: asyncio.Future[tuple[Link, ClientChannel]] = loop.create_future()
        self._streamed, self._streamed_s = 0, now
        """Output reported on the stream, and when,"""
        self._reported = 0
        """and by any way."""
        self._report_s: float | None = None
        self._settled_s: float | None = None
        self._path_s, self._path_counts = now, (0, 0)
        self._in_use_s, self._rtt_us = now + IN_USE_S, 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._skipped = (0, 0)
        self._history: list[tuple[bytes, bool]] | None = None
        self._pager: asyncio.Task[None] | None = None

    # -- the life of it

    async def run(self, link: Link, channel: ClientChannel) -> int:
        """The exit status. Raises Ended, QshError."""
        if self._plan.stdin:
            self._keys.resume()
            if self._origin is not None:
                self._output.put(QUERY, 0)
                self._loop.call_later(ORIGIN_S, self._give_origin_up)
        try:
            while True:
                outcome = await self._attached(link, channel)
                if outcome is None:
                    outcome = await self._again()
                if isinstance(outcome, int):
                    return outcome
                link, channel = outcome
        finally:
            await self._close()

    async def _attached(
        self, link: Link, channel: ClientChannel
    ) -> int | tuple[Link, ClientChannel] | None:
        """Until the end (the status), another connection's success, or this one's loss (None)."""
        self._begin(link, channel)
        reading = asyncio.ensure_future(self._read(channel))
        waited: set[asyncio.Future[Any]] = {
            reading,
            link.lost,
            self._end,
            self._left,
            self._replaced,
        }
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            self._raise_end()
            if self._left.done():
                channel.ended()
                return self._detached("")
            if self._replaced.done():
                self._abandon(link, channel)
                return self._replaced.result()
            if not reading.done():
                await asyncio.wait({reading}, timeout=0.05)
            why: QshError = ConnectionLost("the stream was cut off")
            if reading.done():
                try:
                    if (status := reading.result()) is not None:
                        return status
                except (ConnectionLost, StreamReset) as error:
                    why = error
            await asyncio.wait({link.lost}, timeout=0.05)
            if link.lost.done():
                why = link.lost.result()
            self._raise_end()
        finally:
            reading.cancel()
            self._channel = None
        if self._detaching:
            return self._detached("")
        if self._reopen is None or not self._ticket or is_final(why):
            raise why
        log.debug(f"terminal {visible(self.name)}: connection lost: {why}")
        self._why, self._lost_s = reason_of(why), self._clock()
        self._abandon(link, channel)
        return None

    def _raise_end(self) -> None:
        if self._end.done():
            self._end.result()

    def _begin(self, link: Link, channel: ClientChannel) -> None:
        self.link, self._channel = link, None
        self._flow = flow.prefix(channel.id)
        self._replaced = self._loop.create_future()
        self._parts = FrameParts()
        self._probing.heard()
        self._told_packets = link.connection.stats()["received_packets"]
        self._path_counts = (0, 0)
        link.open_flow(channel.id, lambda data: self._datagram(channel, data))

    def _abandon(self, link: Link, channel: ClientChannel) -> None:
        """Leave a connection without the word that ends programs."""
        channel.ended()
        closing = asyncio.ensure_future(link.close(ABANDONED))
        closing.add_done_callback(_retrieved)

    async def _again(self) -> int | tuple[Link, ClientChannel]:
        """Another connection, whenever there is one. Raises Ended, QshError (no hope)."""
        if self._second is None:
            self._try_again()
        self._tick()
        waited: set[asyncio.Future[Any]] = {self._replaced, self._end, self._left}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        self._raise_end()
        return self._detached("") if self._left.done() else self._replaced.result()

    def _try_again(self) -> None:
        from qsh.client.resume import keep_trying

        if self._reopen is None or not self._ticket:
            return
        self._tried_s = self._clock()
        self._second = asyncio.ensure_future(self._reattach(keep_trying))
        self._second.add_done_callback(_retrieved)

    async def _reattach(self, keep_trying: Any) -> None:
        replaced = self._replaced
        try:
            found = await keep_trying(self._reopen, self._attach_message, self._failed)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # handed to whoever waits
            if not replaced.done():
                replaced.set_exception(error)
                replaced.exception()
            return
        finally:
            if self._second is asyncio.current_task():
                self._second = None
        if replaced.done() or replaced is not self._replaced:
            self._abandon(*found)
        else:
            replaced.set_result(found)

    def _failed(self, error: Exception) -> None:
        """An attempt has failed."""
        if self._channel is None:
            self._why = reason_of(error)
        self._tick()

    def _attach_message(self) -> Open:
        attach = Attach(
            self._client,
            ticket=self._ticket,
            consumed=self._display.position,
            exact=self._plan.exact,
            host=os.uname().nodename[:256],
        )
        return Open("attach", self.name.encode(), self._pty(), terminal=attach)

    async def _close(self) -> None:
        """Leave the user's terminal as the server's bytes have it."""
        for task in (self._second, self._pager):
            if task is not None:
                task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._keys.pause()
        self._show(self._display.clear())
        await self._output.flushed(0.3)
        self._output.close()

    # -- what comes

    async def _read(self, channel: ClientChannel) -> int | None:
        """Until the end of the stream; the exit status if there is one."""
        decoder: TerminalDecoder[Any] = TerminalDecoder(HostFrame)
        while data := await channel.recv.read():
            now = self._clock()
            self._heard(now)
            for message in decoder.receive(data):
                status = await self._take(channel, message, now)
                if status is not None:
                    return status
            self._after(now)
            if self._output.is_full or self._output.error is not None:
                await self._output.drained()
                self._after(self._clock())
        return None

    async def _take(self, channel: ClientChannel, message: Any, now: float) -> int | None:
        display = self._display
        if isinstance(message, Output):
            if message.offset > display.position:
                raise RemoteProtocolError(
                    "output-gap", f"{message.offset} after {display.position}"
                )
            self._received_output(message, now)
        elif isinstance(message, Note):
            self._received_note(message, now)
        elif isinstance(message, Frame):
            if message.start > display.position:
                raise RemoteProtocolError("output-gap", f"{message.start} after {display.position}")
            self._acknowledge(message.applied, now)
            display.told(message.offset, message.applied, message.settled, message.tty)
            self._output.put(
                display.frame(message.offset, message.data, now), display.position, whole=True
            )
            if message.skipped_end > message.skipped_first:
                self._skipped = (message.skipped_first, message.skipped_end)
        elif isinstance(message, Event):
            self._show(display.event(message.data, now))
        elif isinstance(message, Attached):
            self._received_attached(channel, message, now)
        elif isinstance(message, HistoryLines):
            self._received_history(message)
        elif isinstance(message, Ended):
            return await self._received_end(channel, message)
        elif isinstance(message, Detached):
            channel.ended()
            if message.reason == "taken" and now - self._tried_s < OWN_TAKING_S:
                raise ConnectionLost("another connection of ours took over")
            return self._detached(message.reason)
        return None

    def _datagram(self, channel: ClientChannel, data: bytes) -> None:
        """A copy of what the stream brings too."""
        if self._channel is not channel:
            return
        message = decode_datagram(data, HostDatagram)
        if message is None:
            return
        now = self._clock()
        self._heard(now)
        with contextlib.suppress(RemoteProtocolError):  # the stream will bring it, and the error
            if isinstance(message, Note):
                self._received_note(message, now)
            elif isinstance(message, FramePart):
                self._received_part(message, now)
            elif not self._output.is_full:
                if message.offset + len(message.data) <= self._reported:
                    self._report_s = now  # the report was lost
                self._received_output(message, now)
        self._after(now)

    def _received_output(self, message: Output, now: float) -> None:
        display = self._display
        self._in_use_s = now + IN_USE_S
        self._acknowledge(message.applied, now)
        display.told(
            message.offset + len(message.data), message.applied, message.settled, message.tty
        )
        self._show(display.output(message.offset, message.data, now))

    def _received_part(self, message: FramePart, now: float) -> None:
        display = self._display
        painting = self._parts.receive(message)
        if painting is None or self._output.is_full or message.start > display.position:
            return
        self._in_use_s = now + IN_USE_S
        if message.offset > display.position and message.skipped_end > message.skipped_first:
            self._skipped = (message.skipped_first, message.skipped_end)
        self._output.put(
            display.painted(message.offset, painting, now), display.position, whole=True
        )

    def _received_note(self, message: Note, now: float) -> None:
        self._acknowledge(message.applied, now)
        self._display.told(message.offset, message.applied, message.settled, message.tty)
        self._show(self._display.refresh(now))

    def _received_attached(self, channel: ClientChannel, message: Attached, now: float) -> None:
        first = not self._ticket
        self.name, self._ticket = message.name, message.ticket
        log.debug(f"terminal {visible(message.name)}: output from {message.start}")
        self._show(self._display.start(message.start, now))
        self._output.put(b"", message.start)
        self._streamed = self._reported = message.start
        self._why = ""
        self._sent = max(message.received, self._log.start)
        self._log.since(message.received)
        self._channel = channel
        if first and self._plan.tell_waiting:
            for text in message.waiting if log.level >= _INFO else ():
                self.say(visible(text) + "\r\n")
        if len(self._log):
            self._send_typed(now)
        if not first:
            self.resized()
        self._look_at_path(now)

    async def _received_end(self, channel: ClientChannel, message: Ended) -> int:
        if message.offset != self._display.position:
            raise ChannelError(
                f"the output is incomplete: {self._display.position} of {message.offset} bytes"
            )
        self._show(self._display.clear())
        await self._output.flushed()
        self._write(EndedAck())
        with contextlib.suppress(
            QshError, TimeoutError
        ):  # closing at once would drop it, and the host keep the end
            channel.send.finish()
            await asyncio.wait_for(channel.send.acknowledged(), ACKNOWLEDGED_S)
        channel.ended()
        if message.signal is not None or message.status is None:
            log.debug(f"exit-signal {visible(message.signal or '?')}")
            return FAILED
        log.debug(f"Exit status {message.status}")
        return message.status

    def _detached(self, reason: str) -> int:
        host = self._plan.host
        name = visible(self.name)
        if reason == "killed":
            self._new_line()
            self.farewell = f"[session {name} on {host} was killed]"
            return FAILED
        self._new_line()
        why = {"taken": " by another client", "by-command": " by command"}.get(reason, "")
        self.farewell = (
            f"[detached{why} from session {name} on {host}; qshctl attach {host} {name}]"
        )
        return 0

    def _new_line(self) -> None:
        if os.isatty(self._plan.output):
            self._show(self._display.clear() + b"\r\n")

    # -- what is shown

    def _show(self, data: bytes) -> None:
        self._output.put(data, self._display.position - len(self._display.held))

    def _progressed(self) -> None:
        self._after(self._clock())

    def say(self, text: str) -> None:
        """Print a text of our own on the user's terminal."""
        if os.isatty(2) and os.isatty(self._plan.output):
            self._show(self._display.printed(text.encode(), self._clock()))
        else:
            log.plain(text)

    # -- what is typed

    def divert(self, take: Callable[[bytes], None] | None) -> None:
        """What is typed from now on is not for the host; None: it is again."""
        self._keys.diverted = take

    def type(self, data: bytes) -> None:
        """As if it were typed now."""
        if data:
            self._keys.receive(data)

    def _sift(self, data: bytes) -> bytes:
        if self._origin is not None:
            data = self._origin.receive(data)
            if self._origin.position is not None:
                self._show(self._display.locate(*self._origin.position, self._clock()))
                self._origin = None
        return data

    def _give_origin_up(self) -> None:
        """The terminal did not answer: from here on all that looks like an answer is for the program."""
        if self._origin is not None:
            kept, self._origin = self._origin.kept, None
            if kept:
                self._typed(kept)

    def _typed(self, data: bytes) -> None:
        now = self._clock()
        self._in_use_s = now + IN_USE_S
        offset = self._log.append(data)
        self._send_typed(now)
        self._show(self._display.typed(data, offset, now))
        if len(self._log) >= WAITING_BYTES:
            self._keys.pause()
        self._after(now)

    def _send_typed(self, now: float) -> None:
        """All that is unacknowledged in a datagram, and what is new on the stream."""
        channel, link, typed = self._channel, self.link, self._log
        if channel is None or link is None:
            return
        self._ask(now)
        size = self._send_input_datagram()
        if size:
            self._repetition.sent(now, size)
        data = typed.since(self._sent)
        for at in range(0, len(data), MAX_DATA):
            part = data[at : at + MAX_DATA]
            self._write(Input(self._sent, part, self._output.consumed))
            self._sent += len(part)
        self._counted_report()

    def _send_input_datagram(self) -> int:
        """The size; 0 when there is too much, or nothing."""
        typed = self._log
        if not 0 < len(typed) <= MAX_DATAGRAM - HEADER_BYTES:
            return 0
        return self._send_datagram(
            Input(typed.start, typed.since(typed.start), self._output.consumed)
        )

    def _send_datagram(self, message: Base) -> int:
        link = self.link
        assert link is not None  # noqa: S101 - the callers look
        data = self._flow + encode_datagram(message)
        try:
            link.connection.send_datagram(data)
        except (ValueError, QshError):
            return 0
        return len(data)

    def _write(self, message: Base) -> None:
        """A message on the stream."""
        if self._channel is not None:
            with contextlib.suppress(QshError):
                self._channel.send.put(encode(message))

    def _acknowledge(self, applied: int, now: float) -> None:
        typed = self._log
        if not typed.acknowledged(applied):
            return
        if len(typed):
            self._repetition.progressed(now)
        else:
            self._repetition.acknowledged(now)
        if len(typed) < WAITING_BYTES and self._plan.stdin and self._pager is None:
            self._keys.resume()

    def _input_ended(self) -> None:
        log.debug("standard input has ended", 2)

    # -- reports

    def _counted_report(self) -> None:
        """What is on the screen has been said on the stream."""
        self._streamed = self._reported = self._output.consumed
        self._streamed_s = self._clock()
        self._report_s = self._settled_s = None

    def _after(self, now: float) -> None:
        """Say what the terminal has taken, and set the clock."""
        if self._display.needs_painting and self._channel is not None and not self._notice_on:
            self._display.needs_painting = False
            self._write(Repaint())
        consumed = self._output.consumed
        if self._channel is not None:
            unsaid = consumed - self._streamed
            if unsaid >= REPORT_BYTES and (
                unsaid >= REPORT_FAST_BYTES or now >= self._streamed_s + REPORT_FAST_S
            ):
                self._write(Report(consumed, self._rtt_us))
                self._counted_report()
            elif consumed > self._reported:
                self._report_s = now + REPORT_S if self._report_s is None else self._report_s
                self._settled_s = now + SETTLED_REPORT_S
        self._schedule()

    def _report(self, now: float) -> None:
        if self._report_s is not None and now >= self._report_s:
            self._report_s = None
            self._reported = self._output.consumed
            self._send_datagram(Report(self._reported, self._rtt_us))
        if self._settled_s is not None and now >= self._settled_s:
            self._settled_s = None
            if self._output.consumed > self._streamed:
                self._write(Report(self._output.consumed, self._rtt_us))
                self._counted_report()

    # -- contact

    def _ask(self, now: float) -> None:
        """Something that wants an answer leaves."""
        if self._contact.asked(now):
            assert self.link is not None  # noqa: S101 - there is a channel
            self._told_packets = self.link.connection.stats()["received_packets"]
            self._probing.asked(now)

    def _heard(self, now: float) -> None:
        if self._contact.lost(now):
            self._repetition.hasten(now)
        self._contact.heard(now)
        self._probing.heard()
        if self._notice_on and self._channel is not None:
            self._notice_on = False
            self._show(self._display.notice(None, now))
        if self._second is not None and self._channel is not None:
            self._second.cancel()
            self._second = None
        if len(self._log) and self._channel is not None:
            self._ask(now)

    def _look_for_contact(self, now: float) -> None:
        link, contact = self.link, self._contact
        assert link is not None  # noqa: S101 - set before any timer
        if self._channel is not None:
            if contact.lost(now) or self._probing.due(now):
                packets = link.connection.stats()["received_packets"]
                if packets != self._told_packets:
                    self._told_packets = packets
                    self._heard(now)
                elif now - contact.heard_s >= SECOND_TRY_S and self._second is None:
                    self._try_again()
            elif not contact.waiting and self._probe_s is not None and now >= self._probe_s:
                self._ask(now)
                self._send_datagram(Report(self._output.consumed, self._rtt_us))
            if self._probing.due(now):
                self._send_probe(now)
        if not self._ticket:
            return
        if (self._channel is None and now >= self._lost_s + GRACE_S) or contact.lost(now):
            self._notice_on = True
            text = line(
                now - contact.heard_s,
                reason=self._why,
                waiting=len(self._log),
                escape=self._escape,
            )
            self._show(self._display.notice(text, now))

    def _send_probe(self, now: float) -> None:
        """Small: what counts is that the host hears of us as soon as the path works."""
        self._probing.probed(now)
        if 0 < len(self._log) <= PROBE_BYTES:
            self._repetition.repeated(now, self._send_input_datagram())
        else:
            self._send_datagram(Report(self._output.consumed, self._rtt_us))

    @property
    def _probe_s(self) -> float | None:
        """When to ask whether the host is there."""
        due = self._contact.heard_s + PROBE_S
        return due if due <= self._in_use_s else None

    def _look_at_path(self, now: float) -> None:
        link = self.link
        if link is None or self._channel is None:
            return
        self._path_s = now + PATH_S
        stats = link.connection.stats()
        self._rtt_us = stats["rtt_us"]
        rtt_s = self._rtt_us / 1e6
        self._repetition.rtt(rtt_s)
        self._contact.rtt(rtt_s)
        self._probing.rtt(rtt_s)
        self._display.rtt(rtt_s)
        sent, lost = stats["sent_packets"], stats["lost_packets"]
        new_sent = sent - self._path_counts[0]
        if new_sent >= _LOSS_SAMPLE:
            self._repetition.loss((lost - self._path_counts[1]) * 1_000_000 // new_sent)
            self._path_counts = (sent, lost)

    # -- the clock

    def _schedule(self) -> None:
        """Wake when the next thing is due."""
        soonest = min(self._deadlines(), default=None)
        timer = self._timer
        if soonest is None or (timer is not None and self._timer_s <= soonest):
            return
        if timer is not None:
            timer.cancel()
        self._timer_s = soonest
        self._timer = self._loop.call_at(soonest, self._tick)

    def _deadlines(self) -> list[float]:
        now, contact = self._clock(), self._contact
        found = [self._display.deadline]
        if self._channel is None or contact.lost(now):
            found.append(now + WATCH_S)
        else:
            found.append(contact.deadline or self._probe_s)
        if self._channel is not None:
            found += [self._report_s, self._settled_s, self._repetition.deadline]
            found.append(self._probing.deadline)
            if now < self._in_use_s:
                found.append(self._path_s)
        return [item for item in found if item is not None]

    def _tick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        if self._channel is not None:
            self._report(now)
            if self._repetition.due(now):
                size = self._send_input_datagram()
                if size:
                    self._repetition.repeated(now, size)
                else:
                    self._repetition.acknowledged(now)
            if now >= self._path_s:
                self._look_at_path(now)
        self._look_for_contact(now)
        self._show(self._display.expire(now))
        self._after(now)

    # -- what the user asks for

    def resized(self) -> None:
        """The window has another size."""
        size = window_size(0)
        if not size.rows:
            return
        now = self._clock()
        damaged = self._display.resized(size.rows, size.cols, now)
        self._write(Resized(self._log.end, size.rows, size.cols, size.xpixel, size.ypixel))
        if damaged:
            self._write(Repaint())
            self._show(self._display.refresh(now))

    def suspend(self) -> None:
        """Stop this process; it goes on in the foreground, on a terminal that shows something else."""
        self._show(self._display.clear())
        self._local.suspend()
        self._shows_else()

    def _shows_else(self) -> None:
        self.resized()
        self._write(Repaint())
        self._show(self._display.refresh(self._clock()))
        self._after(self._clock())

    def send_break(self) -> None:
        """A break on the line."""
        self._write(SendBreak())

    def detach(self) -> None:
        """Leave; the programs stay."""
        if self._detaching:
            return
        self._detaching = True
        if self._channel is None:
            self._leave()
            return
        self._write(Detach())
        self._loop.call_later(DETACH_S, self._leave)

    def _leave(self) -> None:
        if not self._left.done():
            self._left.set_result(None)

    def history(self) -> None:
        """Show in a pager what has left the screen."""
        if self._channel is not None and self._pager is None and self._history is None:
            self._history = []
            self._write(FetchHistory(1, 0, 1 << 62))

    def _received_history(self, message: HistoryLines) -> None:
        if self._history is None:
            return
        self._history += message.lines
        if message.last:
            lines, self._history = self._history, None
            self._pager = asyncio.ensure_future(self._page(lines))
            self._pager.add_done_callback(_retrieved)

    async def _page(self, lines: list[tuple[bytes, bool]]) -> None:
        from qsh.client.pager import page

        self._show(self._display.clear())
        await self._output.flushed(0.3)
        self._keys.pause()
        self._output.pause()
        self._local.leave()
        try:
            await page(
                b"".join(text + (b"" if wrapped else b"\x1b[0m\n") for text, wrapped in lines)
            )
        finally:
            self._local.enter()
            self._output.resume()
            self._pager = None
            if self._plan.stdin:
                self._keys.resume()
            self._shows_else()


_INFO: Final = 3
"""LogLevel of what a login says."""
_LOSS_SAMPLE: Final = 50
"""Packets that tell something about loss."""


def _retrieved(task: asyncio.Task[None]) -> None:
    """Nobody else asks how it went."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug(f"terminal: {error}", 2)


def _display(plan: Plan) -> Display:
    """With a model where there is a terminal to draw on."""
    size = window_size(plan.output)
    if not size.rows or not size.cols:
        return Display(None)
    from qsh.terminal.screen import Screen

    screen = Screen(size.rows, size.cols)
    if plan.prediction == "never":
        return Display(screen)
    from qsh.terminal.predictor import Predictor

    return Display(screen, Predictor(screen, plan.prediction))
