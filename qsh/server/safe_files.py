"""Key files read as sshd's StrictModes does, and host keys that others can read refused.

Model: OpenSSH's auth2-pubkeyfile.c (auth_openkeyfile), misc.c (safe_path), authfile.c
(sshkey_perm_ok). The caller takes on the user's rights first: then nothing that the user could
not read anyway can be read through a link.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Final

__all__ = [
    "Checked",
    "check_private",
    "others_may_write",
    "program_refusal",
    "read_all",
    "read_checked",
    "read_whole",
]

GROUP_OR_WORLD_WRITABLE: Final = 0o022
NOT_OWNER_ONLY: Final = 0o077
READ_BYTES: Final = 65536
MOST: Final = 1 << 30
OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""NONBLOCK: a FIFO put in a key file's place must not hang the login."""

_BANNER = (
    "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n"
    "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\n"
    "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n"
)


@dataclass(frozen=True, slots=True)
class Checked:
    """A file's ``text`` (UTF-8, other bytes as surrogates), or None and the ``reason``.

    A file that does not exist has neither.
    """

    text: str | None = None
    reason: str = ""


def read_checked(path: str, uid: int, home: str, *, strict: bool, limit: int) -> Checked:
    """The file at ``path`` if it may be trusted to speak for the user ``uid``.

    A link is followed; what it leads to is checked, with every directory above up to ``home`` or
    the root. ``strict`` is StrictModes; without it only the type and ``limit`` (bytes) count.
    Never raises for anything that the path may lead to.
    """
    try:
        real = os.path.realpath(path, strict=True)
        descriptor = os.open(real, OPEN_FLAGS)
    except FileNotFoundError:
        return Checked()
    except (OSError, ValueError) as error:
        return Checked(
            reason=f"Could not open user '{uid}' authorized keys '{path}': {_why(error)}"
        )
    try:
        return _read(descriptor, real, uid, home, strict=strict, limit=limit)
    except OSError as error:
        return Checked(reason=f"cannot read file {real}: {_why(error)}")
    finally:
        os.close(descriptor)


def _read(descriptor: int, real: str, uid: int, home: str, *, strict: bool, limit: int) -> Checked:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return Checked(reason=f"Authentication refused: {real} is not a regular file")
    if strict:
        refusal = _refusal(status, real, uid, home)
        if refusal:
            return Checked(reason=f"Authentication refused: {refusal}")
    if status.st_size > limit:
        return Checked(reason=f"Authentication refused: {real} is larger than {limit} bytes")
    data = bytearray()
    while len(data) <= limit and (part := os.read(descriptor, limit + 1 - len(data))):
        data += part
    if len(data) > limit:  # it grew while we read
        return Checked(reason=f"Authentication refused: {real} is larger than {limit} bytes")
    return Checked(text=data.decode("utf-8", "surrogateescape"))


def _refusal(status: os.stat_result, real: str, uid: int, home: str) -> str:
    if not _trusted(status, uid):
        return f"bad ownership or modes for file {real}"
    try:
        top = os.path.realpath(home, strict=True) if home else "/"
    except (OSError, ValueError):
        top = "/"
    directory = real
    while directory not in ("/", top):
        directory = os.path.dirname(directory)
        try:
            trusted = _trusted(os.stat(directory), uid)
        except OSError:
            trusted = False
        if not trusted:
            return f"bad ownership or modes for directory {directory}"
    return ""


def _trusted(status: os.stat_result, uid: int) -> bool:
    return status.st_uid in (0, uid) and not status.st_mode & GROUP_OR_WORLD_WRITABLE


def program_refusal(path: str, uid: int = 0) -> str | None:
    """Why a program must not be run for everybody: others than root or ``uid`` could change it (misc.c: safe_path)."""
    if not path.startswith("/"):
        return "the path is not absolute"
    try:
        real = os.path.realpath(path, strict=True)
        status = os.stat(real)
    except (OSError, ValueError) as error:
        return _why(error)
    if not stat.S_ISREG(status.st_mode):
        return f"{real} is not a regular file"
    return _refusal(status, real, uid, "/") or None


def read_whole(path: str, limit: int = MOST) -> bytes:
    """At most ``limit`` bytes of a file of the system's. Without the layers of open(), for which a fresh fork pays with pages of
    its own. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    data = bytearray()
    try:
        while part := os.read(descriptor, min(READ_BYTES, limit - len(data))):
            data += part
    finally:
        os.close(descriptor)
    return bytes(data)


def read_all(path: str, limit: int, *, ours: bool = False) -> bytes:
    """A file that the configuration names, with the present rights. Raises OSError, for one that is larger, too; with ``ours``
    for one that others may write.
    """
    descriptor = os.open(path, OPEN_FLAGS & ~os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if ours and (refusal := others_may_write(status)):
            raise OSError(errno.EPERM, f"it {refusal}")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes")
    return data


def others_may_write(status: os.stat_result) -> str | None:
    """Who else than root and we could say by this file or directory what qshd does, after its name; None: nobody."""
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (uid {status.st_uid})"
    if status.st_mode & GROUP_OR_WORLD_WRITABLE:
        return f"is writable by its group or by others (mode {status.st_mode & 0o7777:04o})"
    return None


def check_private(path: str) -> str | None:
    """Why a host's private key must not be used, in OpenSSH's words; None if it may.

    None too for a file that cannot be examined: opening it will tell.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if status.st_uid not in (0, os.geteuid()):
        return f"bad ownership or modes for file {path}"
    if status.st_mode & NOT_OWNER_ONLY:
        return (
            f"{_BANNER}Permissions 0{status.st_mode & 0o777:03o} for '{path}' are too open.\n"
            "It is required that your private key files are NOT accessible by others.\n"
            "This private key will be ignored."
        )
    return None


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
