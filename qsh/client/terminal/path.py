"""The path's round trip and loss, looked at now and then for those that go by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qsh.client.terminal.channel import TerminalChannel
    from qsh.client.terminal.contact import ContactWatch
    from qsh.client.terminal.reports import Reports
    from qsh.session.repetition import Repetition
    from qsh.terminal.display import Display

__all__ = ["PathWatch"]

PATH_S: Final = 1.0
"""Between looks, while the terminal is used."""
LOSS_SAMPLE: Final = 50
"""Packets that tell something about loss."""


class PathWatch:
    """What the engine measured, passed on."""

    def __init__(
        self,
        channel: TerminalChannel,
        repetition: Repetition,
        reports: Reports,
        contact: ContactWatch,
        display: Display,
        now: float,
    ) -> None:
        self._channel, self._repetition, self._reports = channel, repetition, reports
        self._contact, self._display = contact, display
        self.next_s = now
        """When to look again."""
        self._counts = (0, 0)
        """Packets sent and lost at the last look."""

    def begin(self) -> None:
        """Another connection, which counts from 0."""
        self._counts = (0, 0)

    def look(self, now: float) -> None:
        """Now."""
        self.next_s = now + PATH_S
        stats = self._channel.stats()
        self._reports.rtt_us = stats["rtt_us"]
        rtt_s = stats["rtt_us"] / 1e6
        self._repetition.rtt(rtt_s)
        self._contact.rtt(rtt_s)
        self._display.rtt(rtt_s)
        sent, lost = stats["sent_packets"], stats["lost_packets"]
        new_sent = sent - self._counts[0]
        if new_sent >= LOSS_SAMPLE:
            self._repetition.loss((lost - self._counts[1]) * 1_000_000 // new_sent)
            self._counts = (sent, lost)
