"""Messages to the user: standard error or the ``-E`` file, with OpenSSH's levels and wording."""

from __future__ import annotations

import os
import sys

from qsh.client.text import visible_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from collections.abc import Callable
    from typing import Any, Final

__all__ = ["LEVELS", "Log", "log", "log_failure", "log_loop_error"]

LEVELS: Final = ("QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG1", "DEBUG2", "DEBUG3")
"""OpenSSH's LogLevel names, least first; DEBUG is DEBUG1."""

_FATAL, _ERROR, _INFO, _VERBOSE, _DEBUG1 = 1, 2, 3, 4, 5
_SYSLOG_INFO: Final = 6
"""LOG_INFO of syslog(3)."""


class Log:
    """One per process. Every line is written at once and whole; a broken standard error is nobody's
    problem.
    """

    def __init__(self) -> None:
        self.level = _INFO
        self._fd = 2
        self._syslog: Callable[[int, str], None] | None = None

    def set_level(self, name: str) -> None:
        """LogLevel by its name; an unknown one changes nothing."""
        name = {"DEBUG": "DEBUG1"}.get(name.upper(), name.upper())
        if name in LEVELS:
            self.level = LEVELS.index(name)

    def change_level(self, step: int) -> str:
        """One level up or down (``~v``, ``~V``); the new level's name."""
        self.level = min(len(LEVELS) - 1, max(0, self.level + step))
        return LEVELS[self.level]

    def open_file(self, path: str) -> None:
        """``-E``: append to a file instead. Raises OSError."""
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def use_syslog(self, facility: str) -> None:
        """``-y``: the system's log instead, as ``facility`` (SyslogFacility)."""
        import syslog

        number = getattr(syslog, f"LOG_{facility}", syslog.LOG_USER)
        syslog.openlog("qsh", syslog.LOG_PID, number)
        self._syslog = syslog.syslog

    @property
    def descriptor(self) -> int:
        """Where it writes to."""
        return self._fd

    @property
    def quiet(self) -> bool:
        return self.level < _ERROR

    @property
    def debugging(self) -> bool:
        return self.level >= _DEBUG1

    def error(self, text: str) -> None:
        if self.level >= _ERROR:
            self.write(text)

    def fatal(self, text: str) -> None:
        if self.level >= _FATAL:
            self.write(text)

    def info(self, text: str) -> None:
        if self.level >= _INFO:
            self.write(text)

    def verbose(self, text: str) -> None:
        if self.level >= _VERBOSE:
            self.write(text)

    def debug(self, text: str, depth: int = 1) -> None:
        """``text`` may have come from anywhere."""
        if self.level >= _DEBUG1 + depth - 1:
            self.write(f"debug{depth}: {visible_lines(text)}")

    def write(self, text: str) -> None:
        """Lines separated by LF; each ends with CR LF, because the terminal may be raw (as
        OpenSSH's do).
        """
        if self._syslog is not None:
            for line in text.encode("utf-8", "replace").decode().split("\n"):
                self._syslog(_SYSLOG_INFO, line.replace("\0", ""))
            return
        end = "\r\n" if self._fd == 2 else "\n"
        data = (text.replace("\n", end) + end).encode("utf-8", "surrogateescape")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except (OSError, ValueError):
            return

    def plain(self, text: str) -> None:
        """A text of the session itself (banners, escape help): always to standard error, regardless
        of the level.
        """
        try:
            sys.stderr.flush()
            os.write(2, text.encode("utf-8", "surrogateescape"))
        except (OSError, ValueError, AttributeError):
            return


log = Log()


def log_failure(task: Task[None]) -> None:
    """For :meth:`Task.add_done_callback`, where nobody else asks how it went."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug(f"not waited for: {error}", 2)


def log_loop_error(_loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio would print as a traceback, for :meth:`AbstractEventLoop.set_exception_handler`."""
    log.debug(f"asyncio: {context.get('message')}: {context.get('exception')!r}")
