"""The user's terminal: what it gets, and how far it has taken it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qsh.client.log import log
from qsh.client.terminal.output import TerminalOutput
from qsh.client.tty import window_size
from qsh.terminal.display import Display

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.session import Plan

__all__ = ["View"]


class View:
    """A display and the descriptor that its bytes go to."""

    def __init__(
        self, plan: Plan, clock: Callable[[], float], progressed: Callable[[], None]
    ) -> None:
        """``progressed`` is called when the terminal has taken what had waited for it."""
        self.display = _display(plan)
        self.output = TerminalOutput(plan.output, progressed)
        self._fd, self._clock = plan.output, clock

    def show(self, data: bytes) -> None:
        """What the display gave."""
        self.output.put(data, self.display.position - len(self.display.held))

    def show_frame(self, data: bytes) -> None:
        """What the display gave of a painting: a part of it shows nothing of the output."""
        self.output.put(data, self.display.position, whole=True)

    def say(self, text: str) -> None:
        """Print a text of our own."""
        if os.isatty(2) and os.isatty(self._fd):
            self.show(self.display.printed(text.encode(), self._clock()))
        else:
            log.plain(text)

    def new_line(self) -> None:
        """Nothing more will be drawn; what follows begins on a line of its own."""
        if os.isatty(self._fd):
            self.show(self.display.clear() + b"\r\n")

    async def cleared(self, limit_s: float | None = None) -> None:
        """Return when the terminal has the server's bytes and nothing else, or the limit has passed."""
        self.show(self.display.clear())
        await self.output.flushed(limit_s)


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
