"""A program on a real terminal emulator (tmux), for what paints a whole screen: vim, less, escape sequences.

What only prints lines is easier with :class:`tests.support.terminal.OnTerminal`.
"""

from __future__ import annotations

import re
import secrets
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Screen", "plainly"]

LIMIT_S = 15.0
STATE = " ".join(
    f"{name}=#{{{name}}}"
    for name in (
        *("cursor_x", "cursor_y", "cursor_flag", "alternate_on", "insert_flag", "wrap_flag"),
        *("keypad_cursor_flag", "keypad_flag", "origin_flag", "scroll_region_upper"),
        *("scroll_region_lower", "mouse_any_flag", "mouse_sgr_flag", "pane_title"),
    )
)
"""What tmux tells of a window besides its cells."""


def plainly(rows: Iterable[str]) -> list[str]:
    """Rows with SGR sequences in one way of writing. What cannot be seen is left out: the colour and weight of a blank,
    and blanks of the default background at the end.
    """
    written, pen = [], dict[str, str]()
    for row in rows:
        cells: list[tuple[str, str]] = []
        for code, character in _PIECE.findall(row):
            if code:
                _change(pen, code)
            elif character >= " ":
                blank = character == " " and "7" not in pen
                seen = [pen[key] for key in sorted(pen) if not (blank and key in _UNSEEN)]
                cells.append((character, ";".join(seen)))
        while cells and cells[-1] == (" ", ""):
            cells.pop()
        text = "".join(
            f"<{style}>" * (index == 0 or style != cells[index - 1][1]) + character
            for index, (character, style) in enumerate(cells)
        )
        written.append(text.removeprefix("<>"))
    return written


def _change(pen: dict[str, str], code: str) -> None:
    """Apply one SGR sequence as tmux writes them."""
    words = code.split(";") if code else ["0"]
    while words:
        word = words.pop(0)
        if word in ("0", ""):
            pen.clear()
        elif word in ("38", "48", "58"):
            count = 2 if words[0] == "5" else 4
            pen[word] = ":".join((word, *words[:count]))
            del words[:count]
        elif word in ("39", "49", "59"):
            pen.pop(f"{word[0]}8", None)
        elif len(word) == 3 or (word[0] in "349" and len(word) == 2):
            pen["48" if word[:2] == "10" or (word[0] == "4" and len(word) == 2) else "38"] = word
        else:
            pen[word.partition(":")[0]] = word


_PIECE = re.compile(r"\x1b\[([\d;:]*)m|(.)", re.DOTALL)
_UNSEEN = ("1", "2", "3", "5", "8", "38", "58")


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
                   "set", "-g", "status", "off", ";", "set", "-g", "history-limit", "20000", ";",
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

    def look(self) -> str:
        """All that the window shows: text with its attributes (as :func:`plainly` writes them), cursor and modes."""
        shown = self._tmux("capture-pane", "-p", "-e", "-N", ";", "display", "-p", STATE)
        *rows, state = shown.splitlines()
        return "\n".join((*plainly(rows), state))

    def lines(self) -> list[str]:
        """History and screen as text; a line that goes on in the next row is one."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-", "-E", "-").splitlines()

    def everything(self) -> str:
        """History and screen, a line per row, with SGR and with the blanks at the ends of rows that were written."""
        return self._tmux("capture-pane", "-p", "-e", "-N", "-S", "-", "-E", "-")

    def cursor(self) -> tuple[int, int]:
        """Column and row, from 0."""
        column, row = self._tmux("display", "-p", "#{cursor_x} #{cursor_y}").split()
        return int(column), int(row)

    def size(self) -> tuple[int, int]:
        columns, rows = self._tmux("display", "-p", "#{pane_width} #{pane_height}").split()
        return int(columns), int(rows)

    def pid(self) -> int:
        """Of the shell that started the program: its parent."""
        return int(self._tmux("display", "-p", "#{pane_pid}"))

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
