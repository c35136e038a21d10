"""What has left the screen, fetched from the host and shown in a pager."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qsh.client.log import log_failure
from qsh.wire.terminal import FetchHistory

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.terminal.channel import TerminalChannel
    from qsh.client.terminal.keyboard import Keyboard
    from qsh.client.terminal.view import View
    from qsh.client.tty import Terminal
    from qsh.wire.terminal import HistoryLines

__all__ = ["History"]


class History:
    """One fetch or one pager at a time."""

    def __init__(
        self,
        channel: TerminalChannel,
        view: View,
        keyboard: Keyboard,
        local: Terminal,
        shown: Callable[[], None],
    ) -> None:
        """``shown`` is called when the pager was left: the screen shows something else."""
        self._channel, self._view, self._keyboard = channel, view, keyboard
        self._local, self._shown = local, shown
        self._lines: list[tuple[bytes, bool]] | None = None
        """What came so far; None: nothing is asked for."""
        self._pager: asyncio.Task[None] | None = None

    def fetch(self) -> None:
        """Ask for all of it."""
        if self._channel.heard is not None and self._pager is None and self._lines is None:
            self._lines = []
            self._channel.write(FetchHistory(1, 0, 1 << 62))

    def receive(self, message: HistoryLines) -> None:
        """A part of it."""
        if self._lines is None:
            return
        self._lines += message.lines
        if message.last:
            lines, self._lines = self._lines, None
            self._pager = asyncio.ensure_future(self._page(lines))
            self._pager.add_done_callback(log_failure)

    async def close(self) -> None:
        """Show it no longer; return when the terminal and the keys are given back."""
        if self._pager is not None:
            self._pager.cancel()
            await asyncio.wait({self._pager})

    async def _page(self, lines: list[tuple[bytes, bool]]) -> None:
        from qsh.client.terminal.pager import page

        view = self._view
        await view.cleared(0.3)
        self._keyboard.pause()
        view.output.pause()
        self._local.leave()
        try:
            await page(
                b"".join(text + (b"" if wrapped else b"\x1b[0m\n") for text, wrapped in lines)
            )
        finally:
            self._local.enter()
            view.output.resume()
            self._pager = None
            self._keyboard.resume()
            self._shown()
