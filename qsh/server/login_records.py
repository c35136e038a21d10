"""utmp, wtmp and lastlog: who is logged in, and when they were here before (Linux, glibc).

The layouts are those of utmp(5) and lastlog(8) on machines whose records carry 32-bit times;
elsewhere nothing is written. Files that do not exist are not made: their absence is how a system
says that it keeps no such records. A record that cannot be written never costs a login.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import struct
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qsh.server.requests import LoginRecord, RecordLogin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Paths", "read_last_login", "record_login", "record_logout", "write"]

UTMP: Final = struct.Struct("=hxxi32s4s32s256shhiII16s20x")
"""type, pid, line, id, user, host, exit (2), session, seconds, microseconds, address."""

LASTLOG: Final = struct.Struct("=I32s256s")
"""seconds, line, host; the record of a user is at uid × its size."""

USER_PROCESS: Final = 7
DEAD_PROCESS: Final = 8
_OF_A_PROCESS = (5, 6, 7, 8)
MACHINES: Final = frozenset(
    {"x86_64", "i386", "i486", "i586", "i686", "armv7l", "ppc64le", "s390x"}
)
"""Where glibc's records have 384 and 292 bytes (aarch64's are longer)."""

LOCK_TRIES: Final = 20
LOCK_PAUSE_S: Final = 0.01
"""glibc waits up to 10 s for the lock; a daemon that serves everybody waits 0.2 s."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the records are."""

    utmp: str = "/var/run/utmp"
    wtmp: str = "/var/log/wtmp"
    lastlog: str = "/var/log/lastlog"

    @property
    def all(self) -> list[str]:
        """Each of them."""
        return [self.utmp, self.wtmp, self.lastlog]


DEFAULT: Final = Paths()


def write(record: LoginRecord) -> list[str]:
    """Write one record. Returns what went wrong, for the log. May wait for locks that others hold."""
    if isinstance(record, RecordLogin):
        return record_login(
            record.line,
            record.user,
            record.host,
            record.host,
            pid=record.pid,
            now=record.now,
            uid=record.uid,
        )
    return record_logout(record.line, record.pid, record.now)


def record_login(
    line: str,
    user: str,
    host: str,
    addr: str,
    *,
    pid: int,
    now: float,
    uid: int | None = None,
    paths: Paths = DEFAULT,
) -> list[str]:
    """Note a login on terminal ``line`` (``pts/3``). ``now``: seconds since 1970.

    With ``uid`` lastlog is written too. Returns what went wrong, for the log.
    """
    record = UTMP.pack(
        USER_PROCESS,
        pid,
        _bytes(line, 32),
        _identifier(line),
        _bytes(user, 32),
        _bytes(host, 256),
        0,
        0,
        0,
        *_split(now),
        _packed(addr),
    )
    complaints = _note(record, line, paths)
    if uid is not None:
        entry = LASTLOG.pack(_split(now)[0], _bytes(line, 32), _bytes(host, 256))
        complaints += _guarded(paths.lastlog, lambda fd: _write_at(fd, entry, uid * LASTLOG.size))
    return complaints


def record_logout(line: str, pid: int, now: float, *, paths: Paths = DEFAULT) -> list[str]:
    """Note the end of a login. Returns what went wrong, for the log."""
    record = UTMP.pack(
        DEAD_PROCESS,
        pid,
        _bytes(line, 32),
        _identifier(line),
        b"",
        b"",
        0,
        0,
        0,
        *_split(now),
        b"",
    )
    return _note(record, line, paths)


def read_last_login(uid: int, *, paths: Paths = DEFAULT) -> tuple[float, str] | None:
    """When (seconds since 1970) and from where the user last logged in; None: never, or unknown."""
    if os.uname().machine not in MACHINES:
        return None
    try:
        with _opened(paths.lastlog, os.O_RDONLY) as descriptor:
            data = os.pread(descriptor, LASTLOG.size, uid * LASTLOG.size)
    except (OSError, OverflowError):
        return None
    if len(data) < LASTLOG.size:
        return None
    seconds, _, host = LASTLOG.unpack(data)
    if not seconds:
        return None
    return float(seconds), host.split(b"\0", 1)[0].decode("utf-8", "replace")


def _note(record: bytes, line: str, paths: Paths) -> list[str]:
    return [
        *_guarded(paths.utmp, lambda fd: _write_at(fd, record, _place(fd, line))),
        *_guarded(paths.wtmp, lambda fd: _write_at(fd, record, _end(fd))),
    ]


def _guarded(path: str, write: Callable[[int], None]) -> list[str]:
    if os.uname().machine not in MACHINES:
        return []
    try:
        with _opened(path, os.O_RDWR) as descriptor:
            _lock(descriptor)  # closing the descriptor unlocks
            write(descriptor)
    except FileNotFoundError:
        return []
    except (OSError, OverflowError) as error:
        return [f"{path}: {error}"]
    return []


@contextmanager
def _opened(path: str, mode: int) -> Iterator[int]:
    descriptor = os.open(path, mode | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """The whole-file lock that glibc takes."""
    for attempt in range(LOCK_TRIES):
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt == LOCK_TRIES - 1:
                raise
            time.sleep(LOCK_PAUSE_S)


def _place(descriptor: int, line: str) -> int:
    """Where the terminal's entry is; the end of the file if it has none (getutid(3))."""
    wanted, identifier = _bytes(line, 32), _identifier(line)
    offset = 0
    while len(data := os.pread(descriptor, UTMP.size, offset)) == UTMP.size:
        kind, _, found, found_id, *_ = UTMP.unpack(data)
        if kind in _OF_A_PROCESS and (
            found_id == identifier.ljust(4, b"\0") or found.rstrip(b"\0") == wanted
        ):
            return offset
        offset += UTMP.size
    return offset


def _end(descriptor: int) -> int:
    """The end of the last whole record; glibc too writes over a half one."""
    size = os.fstat(descriptor).st_size
    return size - size % UTMP.size


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    if os.pwrite(descriptor, data, offset) != len(data):
        os.ftruncate(descriptor, offset)  # half a record would shift all that follow
        raise OSError(28, "No space left on device")


def _split(now: float) -> tuple[int, int]:
    micro = int(now * 1_000_000)
    return (micro // 1_000_000) & 0xFFFFFFFF, micro % 1_000_000


def _bytes(text: str, size: int) -> bytes:
    return text.encode("utf-8", "replace").split(b"\0", 1)[0][:size]


def _identifier(line: str) -> bytes:
    """The last four characters of the line, as sshd has it."""
    return _bytes(line.removeprefix("/dev/")[-4:], 4)


def _packed(addr: str) -> bytes:
    try:
        address = ipaddress.ip_address(addr.partition("%")[0])
    except ValueError:
        return b""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).packed
