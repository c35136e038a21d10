"""What was typed, until the host has it: on the stream once, in every datagram until acknowledged (docs/protocol.md 10.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.session.repetition import Repetition
from qsh.session.typed_log import TypedLog
from qsh.wire.terminal import MAX_DATA, MAX_DATAGRAM, Input

if TYPE_CHECKING:
    from qsh.client.terminal.channel import TerminalChannel
    from qsh.client.terminal.output import TerminalOutput

__all__ = ["Typed"]

PROBE_BYTES: Final = 64
"""Typed bytes that a probe takes along."""
HEADER_BYTES: Final = 40
"""What a datagram has besides typed bytes, at most."""


class Typed:
    """The log and its sending."""

    def __init__(self, channel: TerminalChannel, output: TerminalOutput, now: float) -> None:
        """Each message tells how far ``output`` is, too."""
        self._channel, self._output = channel, output
        self.log = TypedLog()
        self.repetition = Repetition(now)
        self._sent = 0
        """Input on the present stream goes on here."""

    def resume(self, received: int) -> None:
        """Another stream, on which the host has everything before ``received``. Raises RemoteProtocolError."""
        self._sent = max(received, self.log.start)
        self.log.since(received)

    def send(self, now: float) -> None:
        """All that is unacknowledged in a datagram, and what is new on the stream."""
        size = self._send_datagram(typed=True)
        if size:
            self.repetition.sent(now, size)
        data = self.log.since(self._sent)
        for at in range(0, len(data), MAX_DATA):
            part = data[at : at + MAX_DATA]
            self._channel.write(Input(self._sent, part, self._output.consumed))
            self._sent += len(part)

    def repeat(self, now: float) -> None:
        """The copy that is due."""
        if self.repetition.due(now):
            size = self._send_datagram()
            if size:
                self.repetition.repeated(now, size)
            else:
                self.repetition.acknowledged(now)

    def send_probe(self, now: float) -> bool:
        """A copy, if there is something to copy and it is small."""
        if not 0 < len(self.log) <= PROBE_BYTES:
            return False
        self.repetition.repeated(now, self._send_datagram())
        return True

    def acknowledged(self, applied: int, now: float) -> bool:
        """The host has everything before ``applied``; True if that is news. Raises RemoteProtocolError."""
        if not self.log.acknowledged(applied):
            return False
        if len(self.log):
            self.repetition.progressed(now)
        else:
            self.repetition.acknowledged(now)
        return True

    def _send_datagram(self, *, typed: bool = False) -> int:
        """The size; 0 when there is too much, or nothing."""
        log = self.log
        if not 0 < len(log) <= MAX_DATAGRAM - HEADER_BYTES:
            return 0
        return self._channel.send_datagram(
            Input(log.start, log.since(log.start), self._output.consumed), typed=typed
        )
