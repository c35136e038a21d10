"""When the host is told what the user's terminal has taken (docs/protocol.md 10.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.wire.terminal import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.terminal.channel import TerminalChannel
    from qsh.client.terminal.output import TerminalOutput

__all__ = ["Reports"]

REPORT_BYTES: Final = 16 * 1024
"""So much more on the screen is reported on the stream at once."""
REPORT_FAST_S: Final = 0.001
REPORT_FAST_BYTES: Final = 64 * 1024
"""Not sooner than that after the last one, unless so much is unsaid: each report costs a wake-up on both sides."""
REPORT_S: Final = 0.005
"""Less is reported in a datagram, after this time for more."""
SETTLED_REPORT_S: Final = 0.25
"""And on the stream, when nothing came for so long: a datagram may be lost."""


class Reports:
    """The schedule and the sending."""

    def __init__(
        self, channel: TerminalChannel, output: TerminalOutput, clock: Callable[[], float]
    ) -> None:
        self._channel, self._output, self._clock = channel, output, clock
        self.rtt_us = 0
        """Of the path; every report tells it."""
        self._streamed, self._streamed_s = 0, clock()
        """Output reported on the stream, and when,"""
        self._reported = 0
        """and by any way."""
        self.datagram_s: float | None = None
        """When a report is due in a datagram,"""
        self.settled_s: float | None = None
        """and on the stream."""

    def start(self, offset: int) -> None:
        """The host knows that everything before ``offset`` was taken."""
        self._streamed = self._reported = offset

    def counted(self) -> None:
        """What was taken has been said on the stream, by whichever message."""
        self._streamed = self._reported = self._output.consumed
        self._streamed_s = self._clock()
        self.datagram_s = self.settled_s = None

    def taken(self, now: float) -> None:
        """The terminal may have taken more: say so now or later."""
        consumed = self._output.consumed
        unsaid = consumed - self._streamed
        if unsaid >= REPORT_BYTES and (
            unsaid >= REPORT_FAST_BYTES or now >= self._streamed_s + REPORT_FAST_S
        ):
            self._write()
        elif consumed > self._reported:
            self.datagram_s = now + REPORT_S if self.datagram_s is None else self.datagram_s
            self.settled_s = now + SETTLED_REPORT_S

    def repeated(self, end: int, now: float) -> None:
        """The host has sent output up to ``end`` again: if that was reported, the report was lost."""
        if end <= self._reported:
            self.datagram_s = now

    def send_due(self, now: float) -> None:
        """What is due."""
        if self.datagram_s is not None and now >= self.datagram_s:
            self.datagram_s = None
            self._reported = self._output.consumed
            self.send_datagram()
        if self.settled_s is not None and now >= self.settled_s:
            self.settled_s = None
            if self._output.consumed > self._streamed:
                self._write()

    def send_datagram(self) -> None:
        """One that nothing depends on."""
        self._channel.send_datagram(Report(self._output.consumed, self.rtt_us))

    def _write(self) -> None:
        self._channel.write(Report(self._output.consumed, self.rtt_us))
        self.counted()
