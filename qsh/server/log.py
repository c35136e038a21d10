"""qshd's log: OpenSSH-like lines to standard error, a file, syslog or journald. Remote text is escaped here, once.

An event is a line for people, whose words are sshd's so that fail2ban and the like know them, and fields for programs: journald
keeps them beside it (``QSH_USER=…``), ``QshLogFormat json`` writes one object for each line.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Final

import msgspec

from qsh.clock import wall_s

__all__ = ["JOURNAL_SOCKET", "LEVELS", "Fields", "Log", "printable"]

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
JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"
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


Value = str | int | float
Fields = dict[str, Value]
_as_json = msgspec.json.Encoder().encode


class Log:
    """A sink and a level. Opened before rights are dropped: the syslog socket stays connected in an empty root."""

    def __init__(
        self,
        level: str = "INFO",
        *,
        facility: str = "AUTH",
        to_stderr: bool = True,
        file: int = 2,
        form: str = "text",
    ) -> None:
        """``form``: text; json, one object a line; journal, which is text where there is no journald."""
        self.level = LEVELS.get(level.upper(), LEVELS["INFO"])
        self._facility = _FACILITIES.get(facility.upper(), 4)
        self._file = file
        self._form = form
        self._path, self._socket = "", None
        if form == "journal" and (journal := _connected(JOURNAL_SOCKET)) is not None:
            self._path, self._socket = JOURNAL_SOCKET, journal
        elif not to_stderr:
            self._path, self._socket = SYSLOG_SOCKET, _connected(SYSLOG_SOCKET)
        self.role = "qshd"

    @property
    def descriptors(self) -> set[int]:
        """What must stay open above standard error."""
        own = {self._file} if self._file > 2 else set()
        return own | ({self._socket.fileno()} if self._socket is not None else set())

    @property
    def is_verbose(self) -> bool:
        """Whether lines of VERBOSE are written: making some costs more than it should for nothing."""
        return self.level >= LEVELS["VERBOSE"]

    def _write(self, level: str, text: str, fields: Fields) -> None:
        number = LEVELS[level]
        if number > self.level:
            return
        try:
            if self._path == JOURNAL_SOCKET:
                _send(
                    self._socket, self._journal_entry(number, printable(text), fields), self._path
                )
            elif self._form == "json":
                self._put(number, self._object(level, printable(text), fields), "")
            else:
                self._put(number, self._line(level, text), "%b %e %H:%M:%S ")
        except OSError:
            pass  # a full disk or a dead syslog must not end anybody's session

    def _put(self, number: int, line: bytes, stamp: str) -> None:
        if self._socket is not None:
            tag = f"<{self._facility * 8 + _SEVERITY[number]}>"
            if self._form == "json":
                tag += f"{self.role}[{os.getpid()}]: "
            _send(self._socket, tag.encode() + line, self._path)
        else:
            shown = time.strftime(stamp) if stamp and self._file != 2 else ""
            os.write(self._file, shown.encode() + line + b"\n")

    def _line(self, level: str, text: str) -> bytes:
        number = LEVELS[level]
        prefix = (
            f"{level.lower()}: " if number >= LEVELS["DEBUG"] or level in ("FATAL", "ERROR") else ""
        )
        return f"{self.role}[{os.getpid()}]: {prefix}{printable(text)}".encode()

    def _journal_entry(self, number: int, message: str, fields: Fields) -> bytes:
        """systemd's native protocol: no value here has a line break, so none needs its length."""
        entry = {
            "MESSAGE": message,
            "PRIORITY": _SEVERITY[number],
            "SYSLOG_FACILITY": self._facility,
            "SYSLOG_IDENTIFIER": self.role,
            "SYSLOG_PID": os.getpid(),
        } | {f"QSH_{name.upper()}": printable(str(value)) for name, value in fields.items()}
        return "".join(f"{name}={value}\n" for name, value in entry.items()).encode()

    def _object(self, level: str, message: str, fields: Fields) -> bytes:
        entry: dict[str, str | int | float] = {
            "time": round(wall_s(), 6),
            "level": level.lower(),
            "process": self.role,
            "pid": os.getpid(),
            "message": message,
        }
        for name, value in fields.items():
            entry[name] = printable(value) if isinstance(value, str) else value
        return _as_json(entry)

    def fatal(self, text: str, **fields: Value) -> None:
        """The process ends because of this."""
        self._write("FATAL", text, fields)

    def error(self, text: str, **fields: Value) -> None:
        """Something an administrator should mend."""
        self._write("ERROR", text, fields)

    def info(self, text: str, **fields: Value) -> None:
        """Logins, refusals, ends."""
        self._write("INFO", text, fields)

    def verbose(self, text: str, **fields: Value) -> None:
        """What helps to understand a refusal."""
        self._write("VERBOSE", text, fields)

    def debug(self, text: str, **fields: Value) -> None:
        """What helps a developer."""
        self._write("DEBUG", text, fields)


def _send(sock: socket.socket | None, packet: bytes, path: str) -> None:
    """Also to a logger that was started anew; not from an empty root, where its new socket cannot be reached."""
    if sock is None:
        return
    try:
        sock.send(packet)
    except OSError as error:
        if error.errno not in (errno.ECONNREFUSED, errno.ENOTCONN):
            raise
        sock.connect(path)
        sock.send(packet)


def _connected(path: str) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        return None
    return sock
