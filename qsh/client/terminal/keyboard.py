"""What the user types, from the descriptor to the host and the screen; bounded while the host takes none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsh.client.input import WAITING_BYTES, Keys
from qsh.client.log import log
from qsh.terminal.escape import EscapeFilter
from qsh.terminal.origin import QUERY, OriginFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.session import Plan
    from qsh.client.terminal.channel import TerminalChannel
    from qsh.client.terminal.contact import ContactWatch
    from qsh.client.terminal.reports import Reports
    from qsh.client.terminal.typed import Typed
    from qsh.client.terminal.view import View
    from qsh.terminal.escape import Action

__all__ = ["Keyboard"]

ORIGIN_S: Final = 2.0
"""How long the user's terminal may take to say where its cursor is."""


class Keyboard:
    """Reads keys and sends them; takes out escapes, and the answer to where the cursor is."""

    def __init__(
        self,
        plan: Plan,
        stdin: int,
        channel: TerminalChannel,
        view: View,
        typed: Typed,
        reports: Reports,
        contact: ContactWatch,
        *,
        clock: Callable[[], float],
        act: Callable[[Action], None],
        after: Callable[[float], None],
    ) -> None:
        """``act`` takes escapes; ``after`` is called when keys were sent."""
        self._channel, self._view, self._typed = channel, view, typed
        self._reports, self._contact = reports, contact
        self._clock, self._after = clock, after
        self._wanted, self._lent = plan.stdin, False
        asks = plan.prediction != "never" and plan.kind != "attach" and plan.stdin
        self._origin = OriginFilter() if asks else None
        self._keys = Keys(
            stdin,
            EscapeFilter(plan.escape, persistent=True),
            typed=self._receive,
            act=act,
            ended=_ended,
            sift=None if self._origin is None else self._sift,
        )

    def start(self) -> None:
        """Read from now on, if input is wanted at all."""
        if not self._wanted:
            return
        self._keys.resume()
        if self._origin is not None:
            self._view.output.put(QUERY, 0)
            asyncio.get_running_loop().call_later(ORIGIN_S, self._give_origin_up)

    def pause(self) -> None:
        """Leave the descriptor to somebody else."""
        self._lent = True
        self._keys.pause()

    def resume(self) -> None:
        """Read again."""
        self._lent = False
        if self._wanted:
            self._keys.resume()

    def divert(self, take: Callable[[bytes], None] | None) -> None:
        """What is typed from now on is not for the host; None: it is again."""
        self._keys.diverted = take

    def type(self, data: bytes) -> None:
        """As if it were typed now."""
        if data:
            self._keys.receive(data)

    def send(self, now: float) -> None:
        """What the host does not have, if it hears us."""
        if self._channel.heard is not None:
            self._contact.ask(now)
            self._typed.send(now)
            self._reports.counted()

    def acknowledge(self, applied: int, now: float) -> None:
        """The host has everything before ``applied``. Raises RemoteProtocolError."""
        if not self._typed.acknowledged(applied, now):
            return
        if len(self._typed.log) < WAITING_BYTES and self._wanted and not self._lent:
            self._keys.resume()

    def _receive(self, data: bytes) -> None:
        now = self._clock()
        self._contact.used(now)
        typed = self._typed.log
        offset = typed.append(data)
        self.send(now)
        self._view.show(self._view.display.typed(data, offset, now))
        if len(typed) >= WAITING_BYTES:
            self._keys.pause()
        self._after(now)

    def _sift(self, data: bytes) -> bytes:
        if self._origin is not None:
            data = self._origin.receive(data)
            if self._origin.position is not None:
                self._view.show(self._view.display.locate(*self._origin.position, self._clock()))
                self._origin = None
        return data

    def _give_origin_up(self) -> None:
        """The terminal did not answer: from here on all that looks like an answer is for the program."""
        if self._origin is not None:
            kept, self._origin = self._origin.kept, None
            if kept:
                self._receive(kept)


def _ended() -> None:
    log.debug("standard input has ended", 2)
