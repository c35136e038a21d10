"""What a terminal does with typed keys, asked on its master side (Linux: tcgetattr there tells the user side's flags)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import termios
from typing import TYPE_CHECKING, Final

from qsh.terminal.screen import look
from qsh.wire.terminal import TtyState

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TtyWatch", "waiting_bytes"]

TIOCGPTPEER: Final = 0x5441
IUTF8: Final = 0o40000
_LOCAL: Final = (
    (termios.ECHO, 1),
    (termios.ICANON, 2),
    (termios.ISIG, 4),
    (termios.ECHOE, 8),
    (termios.ECHOK, 16),
    (termios.ECHOCTL, 32),
    (termios.IEXTEN, 64),
    (termios.ECHOKE, 1024),
)
_INPUT: Final = ((termios.ICRNL, 128), (termios.IXON, 256), (IUTF8, 512))
NAME_SETTLES_S: Final = 0.5
"""A new foreground group runs its shell's code until it executes its program: its name is read once more after that."""
_CONTROLS: Final = re.compile(rb"[\x00-\x1f]")
_INT: Final = struct.Struct("i")
_LOOK: Final = struct.Struct("=IIi9B")
"""What a look gives: the characters are in the order of TtyState's fields."""


def waiting_bytes(descriptor: int) -> int:
    """FIONREAD: bytes that a read would get; 0 if it cannot be asked."""
    try:
        (count,) = _INT.unpack(fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0"))
    except OSError:
        return 0
    return int(count)


class TtyWatch:
    """Watches one terminal; holds a descriptor of its user side, so that unread input can be counted."""

    def __init__(self, master: int, *, tell_programs: bool = True) -> None:
        self._master = master
        self._tell_programs = tell_programs
        self._peer = -1
        with contextlib.suppress(OSError):
            self._peer = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        self.look = b""
        """What the last one found."""
        self._group = -1
        self._groups = 0
        self._group_since = 0.0
        self.settled = False
        """The program's name will not change before anything else does."""
        self._name = ""
        self.state = TtyState(0, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, "")

    @property
    def group(self) -> int:
        """The foreground process group; 0: none."""
        return max(self._group, 0)

    @property
    def kernel_echo(self) -> bool:
        """ECHO and ICANON: the kernel answers keys by itself."""
        return self.state.flags & 3 == 3

    def gathers(self, keys: Iterable[bytes]) -> bool:
        """Whether these only make a line longer, which no program has got yet."""
        return self.state.flags & 2 != 0 and not any(map(_CONTROLS.search, keys))

    def push(self) -> None:
        """Let what was written to the master side reach the user's, and its echo ours: the kernel does so in its own time, but
        before it answers poll(2) there (n_tty_poll).
        """
        if self._peer >= 0:
            poll = select.poll()
            poll.register(self._peer, select.POLLIN)
            poll.poll(0)

    @property
    def unread(self) -> int:
        """Bytes of input that the program has not taken; in line mode those of finished lines."""
        self.push()
        return waiting_bytes(self._peer) if self._peer >= 0 else 0

    def name_again(self) -> None:
        """The next :meth:`check` reads the program's name anew: a slow start may have outlasted ``NAME_SETTLES_S``."""
        self.settled = False

    def check(self, now: float) -> bool:
        """Look; whether ``state`` is another one now."""
        try:
            found = look(self._master)
        except OSError:
            return False  # it is hung up
        if found == self.look and self.settled:
            return False
        iflag, lflag, group, *codes = _LOOK.unpack(found)
        if group != self._group:
            self._group, self._group_since = group, now
            self._groups += 1
            self.settled = False
        name = self._name
        if not self.settled:
            name = self._program()
            self.settled = now - self._group_since >= NAME_SETTLES_S
        if found == self.look and name == self._name:
            return False
        self.look, self._name = found, name
        flags = sum(bit for mask, bit in _LOCAL if lflag & mask)
        flags |= sum(bit for mask, bit in _INPUT if iflag & mask)
        erase, kill, werase, eof, lnext, reprint, interrupt, quit_, suspend = (
            code or -1 for code in codes
        )
        self.state = TtyState(
            self.state.serial + 1,
            flags,
            erase,
            kill,
            werase,
            eof,
            lnext,
            reprint,
            interrupt,
            quit_,
            suspend,
            self._groups,
            self._name,
        )
        return True

    def _program(self) -> str:
        if not self._tell_programs or self._group <= 0:
            return ""
        try:
            with open(f"/proc/{self._group}/comm", "rb") as file:
                return file.read(64).decode(errors="replace").rstrip("\n")
        except OSError:
            return ""

    def release_peer(self) -> None:
        """Close the user side: from now on the master tells when nobody has it open any more."""
        if self._peer >= 0:
            os.close(self._peer)
            self._peer = -1
