"""What the host sends of a terminal: output, paintings and words about input, by the stream and by datagrams."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from qsh.errors import RemoteProtocolError
from qsh.session.frame_parts import FrameParts
from qsh.wire.terminal import (
    Attached,
    Detached,
    Ended,
    Event,
    Frame,
    FramePart,
    HistoryLines,
    HostDatagram,
    HostFrame,
    Note,
    Output,
    TerminalDecoder,
    decode_datagram,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.channels.session import ClientChannel
    from qsh.client.terminal.channel import TerminalChannel
    from qsh.client.terminal.contact import ContactWatch
    from qsh.client.terminal.keyboard import Keyboard
    from qsh.client.terminal.reports import Reports
    from qsh.client.terminal.view import View

__all__ = ["Reception"]


class Reception:
    """Passes it on: to the view what is to be seen, to the keyboard what has arrived, to the others what is theirs."""

    def __init__(
        self,
        channel: TerminalChannel,
        view: View,
        keyboard: Keyboard,
        reports: Reports,
        contact: ContactWatch,
        *,
        clock: Callable[[], float],
        attached: Callable[[ClientChannel, Attached, float], None],
        history: Callable[[HistoryLines], None],
        after: Callable[[float], None],
    ) -> None:
        """``after`` is called when something was received."""
        self._channel, self._view, self._keyboard = channel, view, keyboard
        self._reports, self._contact = reports, contact
        self._clock, self._after = clock, after
        self._attached, self._history = attached, history
        self._parts = FrameParts()

    def begin(self) -> None:
        """Another connection: the host counts its paintings anew."""
        self._parts = FrameParts()

    async def read(self, channel: ClientChannel) -> Ended | Detached | None:
        """The stream's last message; None: the stream ended without one. Raises QshError."""
        decoder: TerminalDecoder[Any] = TerminalDecoder(HostFrame)
        output = self._view.output
        while data := await channel.recv.read():
            now = self._clock()
            self._contact.heard(now)
            for message in decoder.receive(data):
                if isinstance(message, Ended | Detached):
                    return message
                self._take(channel, message, now)
            self._after(now)
            if output.is_full or output.error is not None:
                await output.drained()
                self._after(self._clock())
        return None

    def receive_datagram(self, channel: ClientChannel, data: bytes) -> None:
        """A copy of what the stream brings too."""
        if self._channel.heard is not channel:
            return
        message = decode_datagram(data, HostDatagram)
        if message is None:
            return
        now = self._clock()
        self._contact.heard(now)
        with contextlib.suppress(RemoteProtocolError):  # the stream will bring it, and the error
            if isinstance(message, Note):
                self._take_note(message, now)
            elif isinstance(message, FramePart):
                self._take_part(message, now)
            elif not self._view.output.is_full:
                self._reports.repeated(message.offset + len(message.data), now)
                self._take_output(message, now)
        self._after(now)

    def _take(self, channel: ClientChannel, message: Any, now: float) -> None:
        if isinstance(message, Output):
            self._check_no_gap(message.offset)
            self._take_output(message, now)
        elif isinstance(message, Note):
            self._take_note(message, now)
        elif isinstance(message, Frame):
            self._check_no_gap(message.start)
            self._take_frame(message, now)
        elif isinstance(message, Event):
            self._view.show(self._view.display.event(message.data, now))
        elif isinstance(message, Attached):
            self._attached(channel, message, now)
        elif isinstance(message, HistoryLines):
            self._history(message)

    def _check_no_gap(self, start: int) -> None:
        position = self._view.display.position
        if start > position:
            raise RemoteProtocolError("output-gap", f"{start} after {position}")

    def _take_output(self, message: Output, now: float) -> None:
        display = self._view.display
        self._contact.used(now)
        self._keyboard.acknowledge(message.applied, now)
        display.told(
            message.offset + len(message.data), message.applied, message.settled, message.tty
        )
        self._view.show(display.output(message.offset, message.data, now))

    def _take_frame(self, message: Frame, now: float) -> None:
        display = self._view.display
        self._keyboard.acknowledge(message.applied, now)
        display.told(message.offset, message.applied, message.settled, message.tty)
        self._view.show_frame(display.frame(message.offset, message.data, now))

    def _take_part(self, message: FramePart, now: float) -> None:
        view = self._view
        painting = self._parts.receive(message)
        if painting is None or view.output.is_full or message.start > view.display.position:
            return
        self._contact.used(now)
        view.show_frame(view.display.painted(message.offset, painting, now))

    def _take_note(self, message: Note, now: float) -> None:
        display = self._view.display
        self._keyboard.acknowledge(message.applied, now)
        display.told(message.offset, message.applied, message.settled, message.tty)
        self._view.show(display.refresh(now))
