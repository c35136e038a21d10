"""What a terminal does with typed keys, sampled from its master as the session host does."""

from __future__ import annotations

import fcntl
import struct
import termios
from pathlib import Path
from typing import Final

from qsh.wire.terminal import TtyState

__all__ = ["TtySampler"]

_LFLAGS: Final = (
    (termios.ECHO, 1),
    (termios.ICANON, 2),
    (termios.ISIG, 4),
    (termios.ECHOE, 8),
    (termios.ECHOK, 16),
    (termios.ECHOCTL, 32),
    (termios.IEXTEN, 64),
    (termios.ECHOKE, 1024),
)
_IUTF8: Final = 0x4000
_IFLAGS: Final = ((termios.ICRNL, 128), (termios.IXON, 256), (_IUTF8, 512))
_CHARACTERS: Final = (
    termios.VERASE,
    termios.VKILL,
    termios.VWERASE,
    termios.VEOF,
    termios.VLNEXT,
    termios.VREPRINT,
    termios.VINTR,
    termios.VQUIT,
    termios.VSUSP,
)
TIOCGPTPEER: Final = 0x5441
_DISABLED: Final = 0


class TtySampler:
    """``master``: a pseudo-terminal's master."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._seen: tuple[object, ...] = ()
        self._group_id = -1
        self._groups = 0
        self._serial = 0
        self._program = ""

    def sample(self) -> TtyState:
        iflag, _, _, lflag, _, _, characters = termios.tcgetattr(self._master)
        flags = sum(bit for mask, bit in _LFLAGS if lflag & mask)
        flags += sum(bit for mask, bit in _IFLAGS if iflag & mask)
        found = struct.unpack("i", fcntl.ioctl(self._master, termios.TIOCGPGRP, bytes(4)))[0]
        if found != self._group_id:
            self._group_id = found
            self._groups += 1
        self._program = _name(found)
        codes = [code[0] if isinstance(code, bytes) else code for code in (characters[at] for at in _CHARACTERS)]  # fmt: skip
        seen = (flags, *codes, self._groups, self._program)
        if seen != self._seen:
            self._seen = seen
            self._serial += 1
        return TtyState(
            self._serial,
            flags,
            *(-1 if code == _DISABLED else code for code in codes),
            self._groups,
            self._program,
        )


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
