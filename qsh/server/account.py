"""User accounts as the name service has them, and whether they may be used (docs/architecture.md 2.3)."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import Final

from qsh.server.safe_files import read_whole

__all__ = ["Account", "lookup", "unusable"]

SHADOW: Final = "/etc/shadow"
NOLOGIN: Final = "/etc/nologin"
LOCKED_PREFIX: Final = "!"
"""Debian's mark of a locked password (OpenSSH: LOCKED_PASSWD_PREFIX)."""
DAY_S: Final = 86400


@dataclass(frozen=True, slots=True)
class Account:
    """One user; ``groups`` are all group ids, the primary one included."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


def lookup(name: str) -> Account | None:
    """The account of that exact name, or None. May block in NSS: call it in a process that may."""
    if not name or "\0" in name or "/" in name or name.startswith("-"):
        return None
    try:
        entry = pwd.getpwnam(name)
        groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    except (KeyError, OSError, UnicodeError):
        return None
    return Account(
        entry.pw_name,
        entry.pw_uid,
        entry.pw_gid,
        groups,
        entry.pw_dir or "/",
        entry.pw_shell or "/bin/sh",
    )


def unusable(
    account: Account,
    now: float,
    *,
    locked_counts: bool,
    shadow: str = SHADOW,
    nologin: str = NOLOGIN,
) -> str | None:
    """Why the account may not be used now, for the log; None if it may (auth.c: allowed_user).

    ``locked_counts``: a locked password closes the account to keys too, which sshd demands with ``UsePAM no`` only.
    """
    if not os.path.isfile(account.shell):
        return f"shell {account.shell} does not exist"
    if not os.access(account.shell, os.X_OK):
        return f"shell {account.shell} is not executable"
    if account.uid != 0 and os.path.exists(nologin):
        return f"{nologin} exists"
    return _shadow_reason(account.name, now, shadow, locked_counts=locked_counts)


def _shadow_reason(name: str, now: float, path: str, *, locked_counts: bool) -> str | None:
    try:
        data = read_whole(path)
    except OSError:
        return None  # no shadow file, or not ours to read: the account has no such limits
    own = os.fsencode(name) + b":"
    for line in data.split(b"\n"):
        if not line.startswith(own):
            continue
        fields = line.decode("utf-8", "surrogateescape").split(":")
        if len(fields) < 8:
            continue
        if locked_counts and fields[1].startswith(LOCKED_PREFIX):
            return "the account is locked (UsePAM no)"
        if fields[7].isdigit() and now >= int(fields[7]) * DAY_S:
            return "the account has expired"
    return None
