"""A user's own qshd, started through ssh: where it is written down, and who may log in for once.

A directory of the user (0700) with three files: ``lock`` (two that start one at once start one), ``instance`` (port, process and
when that began), ``authorized_keys`` (keys that clients brought through ssh, each with its end).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from time import gmtime, strftime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["InstanceDirectory", "Running", "began"]

KEY_S: Final = 7 * 86400
"""How long a key that came through ssh is good: as long as a terminal may wait for its client (DetachedMax)."""
MAX_KEYS: Final = 64
"""The oldest give way."""
_MAX_FILE: Final = 64 * 1024
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW


class Running(NamedTuple):
    """An instance that is there."""

    port: int
    pid: int
    began: int
    """In the kernel's ticks: a process id alone may be another's by now."""
    keys: tuple[str, ...] = ()
    """Its host keys, each ``TYPE BASE64``."""


def began(pid: int) -> int:
    """When the process started, in ticks since boot; 0: there is none of ours."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
            return 0
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


class InstanceDirectory:
    """Made when it is needed. All methods raise OSError."""

    def __init__(self, path: str = "") -> None:
        base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        self.path = path or os.path.join(base, "qsh", "instance")

    def make(self) -> None:
        """Nobody else may have made it."""
        os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path, 0o700)
        found = os.lstat(self.path)
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not mine or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(errno.EPERM, f"{self.path} is not private")

    @property
    def keys(self) -> str:
        """The path for AuthorizedKeysFile."""
        return os.path.join(self.path, "authorized_keys")

    @property
    def log(self) -> str:
        """Where an instance complains."""
        return os.path.join(self.path, "log")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among those that look for an instance or start one."""
        self.make()
        lock = os.open(os.path.join(self.path, "lock"), os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def running(self) -> Running | None:
        """The instance that was written down, if it is still there."""
        first, *keys = self._read("instance").splitlines() or [""]
        try:
            port, pid, since = (int(word) for word in first.split())
        except ValueError:
            return None
        there = since and keys and began(pid) == since
        return Running(port, pid, since, tuple(keys)) if there else None

    def write(self, running: Running) -> None:
        """Write it down."""
        lines = (f"{running.port} {running.pid} {running.began}", *running.keys)
        self._write("instance", "".join(f"{line}\n" for line in lines))

    def admit(self, key: str, now_s: float) -> None:
        """Let the holder of ``key`` (``TYPE BASE64``) log in as this user until :data:`KEY_S` from now."""
        end = strftime("%Y%m%d%H%M%SZ", gmtime(now_s + KEY_S))
        today = strftime("%Y%m%d%H%M%SZ", gmtime(now_s))
        lines = [
            line
            for line in self._read("authorized_keys").splitlines()
            if line.isascii() and line.split('"')[1:2] > [today] and key not in line
        ]
        lines.append(f'expiry-time="{end}" {key} qsh-instance')
        self._write("authorized_keys", "".join(f"{line}\n" for line in lines[-MAX_KEYS:]))

    def _read(self, name: str) -> str:
        try:
            descriptor = os.open(os.path.join(self.path, name), os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return ""
        with open(descriptor, encoding="ascii", errors="replace") as file:
            return file.read(_MAX_FILE)

    def _write(self, name: str, text: str) -> None:
        """Atomically: a login may read it now."""
        path = os.path.join(self.path, name)
        scratch = f"{path}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS
        with open(os.open(scratch, flags, 0o600), "w", encoding="ascii") as file:
            file.write(text)
        os.replace(scratch, path)
