"""A program on a real terminal emulator (tmux), for what paints a whole screen: vim, less, escape sequences.

What only prints lines is easier with :class:`tests.support.terminal.OnTerminal`.
"""

from __future__ import annotations

import secrets
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Screen"]

LIMIT_S = 15.0


class Screen:
    """``argv`` in a window of a tmux server of its own. The window stays when the program ends."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._name = "qsh-" + secrets.token_hex(4)
        self._env = None if env is None else dict(env)
        self._folder = tempfile.TemporaryDirectory(prefix="qsh-screen-")
        self._ended = Path(self._folder.name, "status")
        # tmux's own pane_dead_status stays empty now and then (3.3a)
        script = 'note=$1; shift; "$@"; echo $? > "$note.new"; mv "$note.new" "$note"'
        noting = ["sh", "-c", script, "sh", str(self._ended), *argv]
        self._tmux("-f", "/dev/null", "start-server", ";", "set", "-g", "remain-on-exit", "on", ";",
                   "set", "-g", "status", "off", ";",
                   "new-session", "-d", "-x", str(columns), "-y", str(rows), shlex.join(noting))  # fmt: skip

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._name, *words],
            capture_output=True,
            text=True,
            check=True,
            env=self._env,
        )
        return done.stdout

    def text(self) -> str:
        """What is on the screen now, a line per row, blanks at the ends of rows left out."""
        return self._tmux("capture-pane", "-p")

    def cursor(self) -> tuple[int, int]:
        """Column and row, from 0."""
        column, row = self._tmux("display", "-p", "#{cursor_x} #{cursor_y}").split()
        return int(column), int(row)

    def size(self) -> tuple[int, int]:
        columns, rows = self._tmux("display", "-p", "#{pane_width} #{pane_height}").split()
        return int(columns), int(rows)

    def type(self, text: str) -> None:
        """Keys, literally."""
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: Enter, C-c, Escape."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def wait_for(self, text: str, limit_s: float = LIMIT_S) -> str:
        """Return the screen once ``text`` is on it."""
        deadline = time.monotonic() + limit_s
        while text not in (now := self.text()):
            assert time.monotonic() < deadline, f"{text!r} is not shown, but\n{now}"
            time.sleep(0.02)
        return now

    def wait_end(self, limit_s: float = LIMIT_S) -> int:
        """The program's exit status as a shell has it: 128 + N after signal N."""
        deadline = time.monotonic() + limit_s
        while not self._ended.exists():
            assert time.monotonic() < deadline, f"still running:\n{self.text()}"
            time.sleep(0.02)
        return int(self._ended.read_text())

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._name, "kill-server"], capture_output=True, check=False)
        self._folder.cleanup()

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
