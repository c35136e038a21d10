"""The local terminal: its size, raw mode, and its way back to what it was.

The state is restored on every way out that Python sees, and by a watcher for those that it does not
(``kill -9``, a crash in native code): a shell that waits on a pipe of ours with signals ignored
and, if the pipe closes without a word, runs stty(1) - unless somebody else (the user's shell) has
already changed the terminal's state.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from typing import Any, Final, NamedTuple

from qsh.client.log import log

__all__ = ["Size", "Terminal", "window_size"]

_WINSIZE: Final = struct.Struct("HHHH")

_WATCH: Final = (
    "trap '' INT QUIT TERM HUP TSTP TTIN TTOU; exec 3<&1 >/dev/null; read -r word && exit 0; "
    '[ "$(stty -g <&3)" = "$1" ] && stty "$2" <&3; exit 0'
)
"""Standard output is the terminal. Descriptors above 9 cannot be named in every shell."""


class Size(NamedTuple):
    """A window in characters and pixels."""

    rows: int = 0
    cols: int = 0
    xpixel: int = 0
    ypixel: int = 0


def window_size(fd: int) -> Size:
    """All zero when ``fd`` is not a terminal."""
    try:
        packed = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_WINSIZE.size))
    except OSError:
        return Size()
    return Size(*_WINSIZE.unpack(packed))


def _raw(mode: list[Any]) -> list[Any]:
    """What OpenSSH's enter_raw_mode sets."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = mode
    iflag |= termios.IGNPAR
    iflag &= ~(termios.ISTRIP | termios.INLCR | termios.IGNCR | termios.ICRNL)
    iflag &= ~(termios.IXON | termios.IXANY | termios.IXOFF | getattr(termios, "IUCLC", 0))
    oflag &= ~termios.OPOST
    lflag &= ~(termios.ISIG | termios.ICANON | termios.IEXTEN)
    lflag &= ~(termios.ECHO | termios.ECHOE | termios.ECHOK | termios.ECHONL)
    characters = [*characters]
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]


class Terminal:
    """The terminal behind ``fd``. :meth:`enter` and :meth:`leave` may be called in any order, any
    number of times.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._saved: list[Any] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def modes(self) -> list[Any] | None:
        """``tcgetattr`` of the terminal as the user left it; None when there is none."""
        if self._saved is not None:
            return self._saved
        try:
            return termios.tcgetattr(self.fd)
        except termios.error:
            return None

    def enter(self) -> None:
        """Raw mode; nothing happens where there is no terminal."""
        if self._saved is not None:
            return
        try:
            saved = termios.tcgetattr(self.fd)
            termios.tcsetattr(self.fd, termios.TCSADRAIN, _raw(saved))
        except termios.error as error:
            log.debug(f"raw mode: {error}")
            return
        self._saved = saved

    def leave(self) -> None:
        """What was before :meth:`enter`."""
        if self._saved is None:
            return
        saved, self._saved = self._saved, None
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, saved)

    def suspend(self) -> None:
        """Stop this process as ``^Z`` does, with the user's terminal state; returns in raw mode
        when it goes on.
        """
        raw = self._saved is not None
        self.leave()
        os.kill(os.getpid(), signal.SIGTSTP)
        if raw:
            self.enter()

    def watch(self) -> None:
        """Start the watcher. Called when the session runs, so that nobody waits for it."""
        if self._saved is None or self._watcher is not None:
            return
        try:
            now = termios.tcgetattr(self.fd)
            raw, cooked = _stty(now), _stty(self._saved)
            if not raw:
                return
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, "qsh-tty-watcher", raw, cooked],
                stdin=subprocess.PIPE,
                stdout=self.fd,
                stderr=subprocess.DEVNULL,
                process_group=0,
                cwd="/",
            )
        except (OSError, termios.error) as error:
            log.debug(f"terminal watcher: {error}")

    def close(self) -> None:
        """:meth:`leave`, and let the watcher go."""
        self.leave()
        watcher, self._watcher = self._watcher, None
        if watcher is not None and watcher.stdin is not None:
            with contextlib.suppress(OSError):
                os.write(watcher.stdin.fileno(), b"done\n")


def _stty(mode: list[Any]) -> str:
    """What ``stty -g`` prints for ``mode``: four flags and all control characters, in hexadecimal
    (Linux).
    """
    characters = mode[6]
    if not sys.platform.startswith("linux") or not isinstance(characters, list):
        return ""
    numbers = [item[0] if isinstance(item, bytes) else item for item in characters]
    return ":".join(f"{number:x}" for number in (*mode[:4], *numbers))
