"""Where a recording goes: the name of its file, a directory that nobody else can change, and writing that leaves whole lines."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from typing import Final

from qsh.config.tokens import Tokens, expand

__all__ = ["RecordingFile", "fixed_directory", "open_recording", "path_for"]

OTHERS_WRITE: Final = 0o022
DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LINKS: Final = 40
MAX_NAMES: Final = 10_000
"""Recordings of one name, which are told apart by a number."""


def path_for(setting: str, user: str, uid: int, now_s: float) -> str:
    """QshRecordPath with its tokens replaced; ``now_s`` in seconds since 1970."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    return expand(setting, Tokens({"u": _plain(user), "U": str(uid), "t": stamp}, "uUt"))


def fixed_directory(setting: str) -> str:
    """What all recordings of a QshRecordPath are below, made if that is possible; else the one above that is there."""
    plain = setting.split("%", 1)[0]
    path = os.path.dirname(plain)
    with suppress(OSError):
        os.close(_open_directory(path))
    while path != "/" and not os.path.isdir(path):
        path = os.path.dirname(path)
    return os.path.realpath(path)


def _plain(user: str) -> str:
    """A user's name as a part of a path: names of a directory service may have a backslash, none may lead elsewhere."""
    plain = "".join(char if char.isalnum() or char in "._-@" else "_" for char in user)
    return "_" + plain[1:] if plain.startswith(".") else plain


class RecordingFile:
    """A new file, ours alone. Raises OSError from all its methods."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.size = 0
        """Bytes of whole lines."""
        self._descriptor = descriptor

    def write(self, lines: bytes) -> None:
        """Whole lines; what could be written only in part is taken off again."""
        done, rest = 0, memoryview(lines)
        try:
            while done < len(lines):
                done += os.write(self._descriptor, rest[done:])
        except OSError:
            self.size += lines.rfind(b"\n", 0, done) + 1
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += done

    def close(self) -> None:
        """What was written is on the disk. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS):  # no file of a disk
                raise
        finally:
            os.close(descriptor)


def open_recording(path: str) -> RecordingFile:
    """A file of this name, or with a number behind it if there is one already. Raises OSError."""
    directory, name = os.path.split(path)
    parent = _open_directory(directory)
    base, extension = os.path.splitext(name)
    try:
        for number in range(1, MAX_NAMES):
            found = name if number == 1 else f"{base}-{number}{extension}"
            try:
                descriptor = os.open(found, FILE, 0o600, dir_fd=parent)
            except FileExistsError:
                continue
            return RecordingFile(os.path.join(directory, found), descriptor)
    finally:
        os.close(parent)
    raise OSError(errno.EEXIST, "too many recordings of this name")


def _open_directory(path: str) -> int:
    """Made where it is missing (0700). Whoever can change it or one above it could replace recordings: only root may, and we."""
    descriptor = os.open("/", DIRECTORY)
    try:
        for name in _resolved(path).split("/"):
            if not name:
                continue
            inner = _enter(name, descriptor)
            os.close(descriptor)
            descriptor = inner
            found = os.fstat(descriptor)
            others = found.st_mode & OTHERS_WRITE and not found.st_mode & stat.S_ISVTX
            if found.st_uid not in (0, os.geteuid()) or others:
                raise PermissionError(errno.EPERM, f"others can change the directory {name}")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _resolved(path: str) -> str:
    """Without links. Only root's and ours are followed: anybody's in a directory for all would lead anywhere."""
    done, rest, links = "/", path.split("/")[::-1], 0
    while rest:
        name = rest.pop()
        if name in ("", ".", ".."):
            done = os.path.dirname(done) if name == ".." else done
            continue
        at = os.path.join(done, name)
        try:
            found = os.lstat(at)
        except FileNotFoundError:
            done = at
            continue
        if not stat.S_ISLNK(found.st_mode):
            done = at
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if found.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, f"others can change the link {name}")
        target = os.readlink(at)
        done = "/" if target.startswith("/") else done
        rest += target.split("/")[::-1]
    return done


def _enter(name: str, parent: int) -> int:
    with suppress(FileNotFoundError):
        return os.open(name, DIRECTORY, dir_fd=parent)
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, DIRECTORY, dir_fd=parent)
