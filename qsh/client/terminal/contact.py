"""Whether the host is there: asking after silence, and the notice for the user when it does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.session.probing import Probing
from qsh.terminal.escape import shown
from qsh.terminal.notice import Contact, line

if TYPE_CHECKING:
    from qsh.client.terminal.channel import TerminalChannel
    from qsh.client.terminal.reattaching import Reattaching
    from qsh.client.terminal.reports import Reports
    from qsh.client.terminal.typed import Typed
    from qsh.client.terminal.view import View

__all__ = ["ContactWatch"]

PROBE_S: Final = 1.0
"""Silence after which a terminal in use asks whether the host is there."""
IN_USE_S: Final = 60.0
"""A terminal is in use for so long after a key or an output."""
LONGER: Final = 5
"""The silence grows with the time that nobody has used it: by a fifth of that."""
WATCH_S: Final = 0.25
"""Between looks for a word while contact is lost."""
STOPPED_S: Final = 5.0
"""Typed keys of which the session says nothing for so long, though the host is there: its process was stopped."""
GRACE_S: Final = 0.5
"""A connection that is replaced so soon was no loss to speak of."""
SECOND_TRY_S: Final = 5.0
"""After so long without contact another connection is tried beside the old one, which may be forgotten over there."""


class ContactWatch:
    """Any packet of the connection is a word of the host's; that the session itself is there only its own messages say."""

    def __init__(
        self,
        channel: TerminalChannel,
        view: View,
        typed: Typed,
        reports: Reports,
        reattaching: Reattaching,
        *,
        escape: int | None,
        now: float,
    ) -> None:
        """``escape``: the character that the notice names."""
        self._channel, self._view, self._typed = channel, view, typed
        self._reports, self._reattaching = reports, reattaching
        self._escape = "" if escape is None else shown(escape)
        self._contact, self._probing = Contact(now), Probing()
        self._packets = 0
        """Received before the host was asked."""
        self._in_use_s = now + IN_USE_S
        self._typed_s: float | None = None
        """When something was typed of which the session has said nothing since."""
        self.notice_is_on = False

    # -- what happened

    def begin(self) -> None:
        """Another connection, whose packets are counted anew."""
        self._probing.heard()
        self._packets = self._received_packets()
        self._typed_s = None

    def rtt(self, rtt_s: float) -> None:
        """The path's round trip."""
        self._contact.rtt(rtt_s)
        self._probing.rtt(rtt_s)

    def used(self, now: float) -> None:
        """A key or an output."""
        self._in_use_s = now + IN_USE_S

    def in_use(self, now: float) -> bool:
        """Not long after that."""
        return now < self._in_use_s

    def ask(self, now: float) -> None:
        """Something that wants an answer leaves."""
        if self._typed_s is None and len(self._typed.log):
            self._typed_s = now
        if self._contact.asked(now):
            self._packets = self._received_packets()
            self._probing.asked(now)

    def heard(self, now: float) -> None:
        """Something of the session's came."""
        self._typed_s = None
        self._heard_packets(now)

    def _heard_packets(self, now: float) -> None:
        typed, connected = self._typed, self._channel.heard is not None
        if self._contact.lost(now):
            typed.repetition.hasten(now)
        self._contact.heard(now)
        self._probing.heard()
        if not connected:
            return
        if self.notice_is_on and not self._is_stopped(now):
            self.notice_is_on = False
            self._view.show(self._view.display.notice(None, now))
        self._reattaching.heard()
        if len(typed.log):
            self.ask(now)

    # -- what to do

    def deadline(self, now: float) -> float | None:
        """When to :meth:`look`, at the latest, for the user's sake."""
        if self._channel.heard is None or self._contact.lost(now):
            return now + WATCH_S
        due = self._contact.deadline or self._ask_s
        if self._typed_s is None or not len(self._typed.log):
            return due
        stopped_s = self._typed_s + STOPPED_S
        if now >= stopped_s:
            stopped_s = now + WATCH_S
        return stopped_s if due is None else min(due, stopped_s)

    @property
    def probe_s(self) -> float | None:
        """When to :meth:`look` for the next probe, while somebody hears us."""
        return self._probing.deadline

    def look(self, now: float) -> None:
        """Ask what is to be asked, and tell the user."""
        if self._channel.heard is not None:
            self._look_for_words(now)
        if self._reattaching.ticket and self._is_lost(now):
            self.notice_is_on = True
            text = line(
                now - self._contact.heard_s,
                reason=self._reattaching.why,
                waiting=len(self._typed.log),
                escape=self._escape,
            )
            self._view.show(self._view.display.notice(text, now))
        elif self._typed_s is not None and self._is_stopped(now):
            self.notice_is_on = True
            text = line(
                now - self._typed_s,
                missing="answer from the session",
                waiting=len(self._typed.log),
                escape=self._escape,
            )
            self._view.show(self._view.display.notice(text, now))

    def _look_for_words(self, now: float) -> None:
        contact = self._contact
        if contact.lost(now) or self._probing.due(now):
            packets = self._received_packets()
            if packets != self._packets:
                self._packets = packets
                self._heard_packets(now)
            elif now - contact.heard_s >= SECOND_TRY_S:
                self._reattaching.start()
        elif not contact.waiting and self._ask_s is not None and now >= self._ask_s:
            self.ask(now)
            self._reports.send_datagram()
        if self._probing.due(now):
            self._send_probe(now)

    def _send_probe(self, now: float) -> None:
        """Small: what counts is that the host hears of us as soon as the path works."""
        self._probing.probed(now)
        if not self._typed.send_probe(now):
            self._reports.send_datagram()

    @property
    def _ask_s(self) -> float | None:
        """When to ask whether the host is there."""
        heard_s = self._contact.heard_s
        unused_s = heard_s - (self._in_use_s - IN_USE_S)
        due = heard_s + max(PROBE_S, unused_s / LONGER)
        return due if due <= self._in_use_s else None

    def _is_stopped(self, now: float) -> bool:
        waits = self._typed_s is not None and len(self._typed.log)
        return bool(waits) and now >= (self._typed_s or 0.0) + STOPPED_S

    def _is_lost(self, now: float) -> bool:
        if self._channel.heard is None and now >= self._reattaching.lost_s + GRACE_S:
            return True
        return self._contact.lost(now)

    def _received_packets(self) -> int:
        return self._channel.stats()["received_packets"]
