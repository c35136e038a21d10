"""qshd's log: OpenSSH-like lines to standard error, a file or syslog. Remote text is escaped here, once."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Final

__all__ = ["LEVELS", "Log", "printable"]

LEVELS: Final = {
    name: number
    for number, name in enumerate(
        ("QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG2", "DEBUG3")
    )
} | {"DEBUG1": 5}
_SEVERITY: Final = (2, 2, 3, 6, 6, 7, 7, 7)
_FACILITIES: Final = {"KERN": 0, "USER": 1, "DAEMON": 3, "AUTH": 4, "AUTHPRIV": 10} | {
    f"LOCAL{n}": 16 + n for n in range(8)
}
SYSLOG_SOCKET: Final = "/dev/log"
MAX_LINE: Final = 1000
"""Characters of a line (OpenSSH: MSGBUFSIZ, 1024); a pipe takes it whole."""


def printable(text: str) -> str:
    """``text`` on one line, without control characters and of bounded length (strnvis's purpose in OpenSSH's log.c).

    No codec is used: the front cannot load one any more.
    """
    shown = "".join(c if c.isprintable() else _escaped(ord(c)) for c in text[: MAX_LINE + 1])
    return shown if len(shown) <= MAX_LINE else f"{shown[:MAX_LINE]}..."


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Log:
    """A sink and a level. Opened before rights are dropped: the syslog socket stays connected in an empty root."""

    def __init__(
        self, level: str = "INFO", *, facility: str = "AUTH", to_stderr: bool = True, file: int = 2
    ) -> None:
        self.level = LEVELS.get(level.upper(), LEVELS["INFO"])
        self._facility = _FACILITIES.get(facility.upper(), 4)
        self._file = file
        self._socket = None if to_stderr else _syslog()
        self.role = "qshd"

    @property
    def descriptors(self) -> set[int]:
        """What must stay open above standard error."""
        own = {self._file} if self._file > 2 else set()
        return own | ({self._socket.fileno()} if self._socket is not None else set())

    def _write(self, level: str, text: str) -> None:
        number = LEVELS[level]
        if number > self.level:
            return
        prefix = (
            f"{level.lower()}: " if number >= LEVELS["DEBUG"] or level in ("FATAL", "ERROR") else ""
        )
        line = prefix + printable(text)
        try:
            if self._socket is not None:
                priority = self._facility * 8 + _SEVERITY[number]
                _send(self._socket, f"<{priority}>{self.role}[{os.getpid()}]: {line}".encode())
            else:
                stamp = time.strftime("%b %e %H:%M:%S ") if self._file != 2 else ""
                os.write(self._file, f"{stamp}{self.role}[{os.getpid()}]: {line}\n".encode())
        except OSError:
            pass  # a full disk or a dead syslog must not end anybody's session

    def fatal(self, text: str) -> None:
        """The process ends because of this."""
        self._write("FATAL", text)

    def error(self, text: str) -> None:
        """Something an administrator should mend."""
        self._write("ERROR", text)

    def info(self, text: str) -> None:
        """Logins, refusals, ends."""
        self._write("INFO", text)

    def verbose(self, text: str) -> None:
        """What helps to understand a refusal."""
        self._write("VERBOSE", text)

    def debug(self, text: str) -> None:
        """What helps a developer."""
        self._write("DEBUG", text)


def _send(sock: socket.socket, packet: bytes) -> None:
    """Also to a syslog that was started anew; not from an empty root, where its new socket cannot be reached."""
    try:
        sock.send(packet)
    except OSError as error:
        if error.errno not in (errno.ECONNREFUSED, errno.ENOTCONN):
            raise
        sock.connect(SYSLOG_SOCKET)
        sock.send(packet)


def _syslog() -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.connect(SYSLOG_SOCKET)
    except OSError:
        sock.close()
        return None
    return sock
