"""What processes of qshd give up: front and signer before a peer can reach them, others what they can be without.

The log says what is in force, and what this kernel lacks. Which system calls are left is in native/src/confine.rs.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import stat
from typing import TYPE_CHECKING, Final

from qsh import _native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.server.log import Log

__all__ = ["confine", "confine_writer", "drop_to", "refuse_rare_calls"]

EMPTY_ROOT: Final = ("/run/qsh/empty", "/var/empty")
SIGNER_FILES: Final = 64
"""Descriptors of a signer: it has two sockets and a log."""


def drop_to(user: str, spare_uid: int, log: Log) -> None:
    """Empty root, that user (or a uid that is nobody's), no groups, no capability to be had, no way back. Raises OSError."""
    try:
        entry = pwd.getpwnam(user)
        uid, gid = entry.pw_uid, entry.pw_gid
    except KeyError:
        uid = gid = spare_uid
        log.info(f"there is no user {user}; {log.role} runs as uid {uid}")
    for root in EMPTY_ROOT:
        with contextlib.suppress(OSError):
            os.makedirs(root, mode=0o755, exist_ok=True)
            if not os.listdir(root):
                os.chroot(root)
                break
    else:
        raise OSError(f"no empty directory for {log.role}: none of {', '.join(EMPTY_ROOT)}")
    os.chdir("/")
    with contextlib.suppress(PermissionError):  # in a container that has not given us that right
        _native.drop_bounding_set()
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    with contextlib.suppress(PermissionError):
        os.setuid(0)
        raise OSError(f"{log.role} could get root rights back")


def confine(role: str, log: Log) -> None:
    """Limits, no new privileges, Landlock, seccomp: for good. Raises OSError."""
    if role == "monitor":
        with contextlib.suppress(PermissionError):  # without root, too
            _native.drop_bounding_set()
    else:
        os.umask(0o077)
    for limit, value in _limits(role, log):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (value, value))
    held, missing = _native.confine(role)
    log.info(f"{log.role} is confined: {', '.join(held)}")
    if missing:
        log.error(f"{log.role}: this kernel does not have: {', '.join(missing)}")


def confine_writer(role: str, paths: Sequence[str], log: Log) -> None:
    """A process for one login, which writes below these paths only: a "recorder", or "records". Raises OSError."""
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # as above
            _native.drop_bounding_set()
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held, missing = _native.confine(role, paths)
    log.debug(
        f"{log.role} is confined: {', '.join(held)}; without {', '.join(missing) or 'nothing'}"
    )


def refuse_rare_calls() -> None:
    """For root's processes at a login that may start programs: what neither they nor those ever need."""
    with contextlib.suppress(
        OSError
    ):  # a kernel without seccomp, which the front's line in the log tells
        _native.refuse_rare_calls()


def _limits(role: str, log: Log) -> list[tuple[int, int]]:
    limits = [(resource.RLIMIT_CORE, 0)]
    if role != "monitor" and not any(
        stat.S_ISREG(os.fstat(fd).st_mode) for fd in {2, *log.descriptors}
    ):
        limits.append((resource.RLIMIT_FSIZE, 0))  # a log file must grow
    if role == "signer":
        limits += [(resource.RLIMIT_NPROC, 0), (resource.RLIMIT_NOFILE, SIGNER_FILES)]
    return limits
