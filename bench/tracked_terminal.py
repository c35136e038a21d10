"""A client on a pseudo-terminal whose screen is followed as it is drawn."""

from __future__ import annotations

import errno
import os
import select
import time
from typing import TYPE_CHECKING

from bench.screen_tracker import Screen
from bench.stage import Terminal
from tests.support.procs import PROMPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.stage import Stage, Tool

__all__ = ["TrackedTerminal"]

READ_MAX = 65536
GATHER_MAX = 1 << 18
"""Bytes read before the screen is looked at, when more keeps coming."""
LOGIN_S = 60.0
END_S = 3.0


class TrackedTerminal(Terminal):
    """Times are those of the last read that made the screen what it is."""

    def __init__(self, stage: Stage, tool: Tool, rows: int = 24, columns: int = 80) -> None:
        super().__init__(stage, tool, rows, columns)
        os.set_blocking(self.fd, False)
        self.screen = Screen(rows, columns)
        self.read_at = self.started
        self.bytes_read = 0
        self.ended = False

    def pump(self, limit_s: float) -> bool:
        """Wait for output and draw all that is there. False: nothing came, or the client is gone."""
        if self.ended or not select.select([self.fd], [], [], max(0.0, limit_s))[0]:
            if self.ended:
                time.sleep(min(0.05, max(0.0, limit_s)))
            return False
        taken = bytearray()
        while len(taken) < GATHER_MAX:
            try:
                data = os.read(self.fd, READ_MAX)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                data = b""
            if not data:
                self.ended = True
                break
            self.read_at = time.perf_counter()
            taken += data
        self.bytes_read += len(taken)
        self.screen.feed(bytes(taken))
        while self.screen.replies:
            self.type(self.screen.replies.pop(0))
        return bool(taken)

    def wait(self, condition: Callable[[], bool], limit_s: float) -> float | None:
        """When what is shown met ``condition``, or None."""
        deadline = time.perf_counter() + limit_s
        while self.screen.synchronized or not condition():
            left_s = deadline - time.perf_counter()
            if left_s <= 0 or self.ended:
                return None
            self.pump(left_s)
        return self.read_at

    def pass_time(self, seconds: float) -> None:
        """Follow the screen for so long."""
        deadline = time.perf_counter() + seconds
        while (left_s := deadline - time.perf_counter()) > 0:
            self.pump(left_s)

    def prompt_row(self) -> int | None:
        """The row with the shell's prompt and nothing behind it. Where the cursor is does not matter: a user who sees
        the prompt types, even if the client has yet to move the cursor there."""
        for row in range(self.screen.rows - 1, -1, -1):
            if self.screen.text(row) == PROMPT.rstrip():
                return row
        return None

    def line_row(self, above: int) -> int | None:
        """The lowest row below ``above`` that begins with the prompt."""
        for row in range(self.screen.rows - 1, above, -1):
            if self.screen.text(row).startswith(PROMPT.rstrip()):
                return row
        return None

    def at_prompt(self) -> bool:
        return self.prompt_row() is not None

    def showing(self, line: str) -> Callable[[], bool]:
        """A condition to wait for: one row is ``line``."""
        return lambda: line in self.screen.lines()

    def await_prompt(self, limit_s: float = LOGIN_S) -> float:
        """When the prompt was shown. Raises TimeoutError with what is shown instead."""
        if (at := self.wait(self.at_prompt, limit_s)) is None:
            shown = [line for line in self.screen.lines() if line]
            raise TimeoutError(f"no prompt, but {shown[-3:]}")
        return at

    def prompt(self) -> float:
        return self.await_prompt() - self.started

    def leave(self) -> None:
        """End the shell, so that nothing of the session stays behind, then the client."""
        if not self.ended and self.process.poll() is None:
            self.type(b"\x03")
            self.pass_time(0.2)
            self.type(b"\x15exit\r")
            self.wait(lambda: False, END_S)
        self.close()
