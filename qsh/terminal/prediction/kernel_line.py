"""Class K: the line that the kernel's line discipline edits and echoes (n_tty), after its control characters.

Right after Enter a terminal echoes still, though the program that was started is about to switch that off to ask for a password.
So the gate opens only when flags and foreground group have been the same for a while. An echo that came true opens nothing: the
program may still be about to ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.terminal.prediction import keys
from qsh.terminal.prediction.guesses import Cells, Effect
from qsh.terminal.prediction.width import columns

if TYPE_CHECKING:
    from qsh.terminal.prediction.keys import Key
    from qsh.terminal.screen import Screen
    from qsh.wire.terminal import TtyState

__all__ = ["KernelGate", "KernelLine", "after_erasing"]

ISIG: Final = 4
ECHOE: Final = 8
ECHOK: Final = 16
ECHOCTL: Final = 32
IEXTEN: Final = 64
IUTF8: Final = 512
ECHOKE: Final = 1024

STABLE_S: Final = 0.300
"""Since the state or the line began. Or one round trip, if that is longer."""
ASKERS: Final = frozenset(
    ("sudo", "su", "doas", "passwd", "login", "ssh", "ssh-keygen", "ssh-add", "gpg", "kinit")
)
"""Programs that ask for secrets: nothing is drawn for their lines."""


class KernelLine:
    """The kernel's line after all keys applied so far. ``typed``: what it held when the screen was read."""

    def __init__(self, screen: Screen, tty: TtyState, typed: str) -> None:
        self._cols = screen.cols
        self._limit = screen.rows * screen.cols
        row, col, wrapping, _ = screen.cursor
        self._wrapping = wrapping
        self._tty = tty
        self.cursor = row * self._cols + col
        self._typed = typed

    def apply(self, key: Key) -> Effect | None:
        """What ``key`` changes, None if that is not known; the line must not be asked again then."""
        if self._wrapping:
            return None
        if key.kind == keys.TEXT:
            return self._put(key.text, key.text)
        if key.kind != keys.CONTROL:
            return None
        count = erased(self._tty, self._typed, key.text)
        if count is not None:
            return self._erase(count)
        if (
            key.text in "\r\n\t"
            or not self._tty.flags & ECHOCTL
            or ord(key.text) in _acting(self._tty)
        ):
            return None
        return self._put("^" + chr(ord(key.text) ^ 0x40), key.text)

    def _put(self, shown: str, typed: str) -> Effect | None:
        cells: Cells = {}
        for char in shown:
            width = columns(char)
            col = self.cursor % self._cols
            # the last column leaves the terminal with a wrap to come, and nothing is drawn on top of that
            if width == 0 or col + width >= self._cols:
                return None
            cells[self.cursor] = (char, -1)
            if width == 2:
                cells[self.cursor + 1] = ("", -1)
            self.cursor += width
        self._typed += typed
        return Effect(cells, self.cursor)

    def _erase(self, count: int) -> Effect | None:
        if not self._tty.flags & ECHOE:
            return None
        cells: Cells = {}
        for char in reversed(self._typed[len(self._typed) - count :]):
            if columns(char) != 1 or char == "\t":
                return None
            size = 2 if char < " " or char == "\x7f" else 1
            if self.cursor % self._cols < size:
                return None
            for _ in range(size):
                self.cursor -= 1
                cells[self.cursor] = (" ", -1)
        self._typed = self._typed[: len(self._typed) - count]
        return Effect(cells, self.cursor)


def erased(tty: TtyState, typed: str, control: str) -> int | None:
    """How many characters of ``typed`` this control character takes away; None if it is no eraser or does more."""
    code = ord(control)
    if code == tty.erase:
        return min(1, len(typed))
    if code == tty.kill:
        return len(typed) if tty.flags & ECHOK and tty.flags & ECHOKE else None
    if code == tty.werase and tty.flags & IEXTEN:
        return len(typed) - _word_start(typed)
    return None


def after_erasing(tty: TtyState, typed: str, key: Key) -> str:
    """The kernel's line ``typed`` after ``key``."""
    if key.kind == keys.TEXT:
        return typed + key.text
    if key.kind != keys.CONTROL or key.text in "\r\n":
        return ""
    count = erased(tty, typed, key.text)
    if count is not None:
        return typed[: len(typed) - count]
    return "" if ord(key.text) in _acting(tty) else typed + key.text


def _word_start(typed: str) -> int:
    """As n_tty erases a word: what is no word character, then word characters."""
    at, seen = len(typed), False
    while at:
        if typed[at - 1].isalnum() or typed[at - 1] == "_":
            seen = True
        elif seen:
            break
        at -= 1
    return at


def _acting(tty: TtyState) -> tuple[int, ...]:
    """Control characters that do something else than stand in the line."""
    signals = (tty.intr, tty.quit, tty.susp) if tty.flags & ISIG else ()
    return (*signals, tty.eof, tty.lnext, tty.reprint, tty.kill, tty.werase, tty.erase, 0x11, 0x13)


class KernelGate:
    """Whether the kernel's echo may be foretold."""

    def __init__(self) -> None:
        self._since = float("inf")
        self._state: tuple[int, int] | None = None
        self._asker = False
        self._secret_group = -1

    def state(self, tty: TtyState, now: float) -> None:
        """The terminal's state, new or not."""
        state = (tty.flags, tty.group)
        if state != self._state:
            self._state = state
            self.line(now)
        self._asker = tty.program in ASKERS or tty.group == self._secret_group

    def secret(self, tty: TtyState) -> None:
        """This group has asked for a secret."""
        self._secret_group = tty.group
        self._state = None

    def left(self) -> None:
        """Another class has begun."""
        self._state = None

    def line(self, now: float) -> None:
        """A line has begun: what reads it may be about to switch echo off."""
        self._since = now

    def missed(self, now: float) -> None:
        self.line(now)

    def opens_at(self, rtt_s: float) -> float:
        """From when on guesses may be shown."""
        if self._asker:
            return float("inf")
        return self._since + max(rtt_s, STABLE_S)
