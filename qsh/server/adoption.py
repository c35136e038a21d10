"""Which session host goes on for a connection that resumes its terminal after a front has ended, in place of another host.

Of the same user, with the same rights, and known by the kernel's word, not its own: by the process that listens at the terminal's
socket. So 200 clients that come back together cost neither 200 processes nor as many PAM sessions.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsh.server.requests import Grant

__all__ = ["choose", "rights_of"]

NOWHERE: Final = ("", 0)


def rights_of(grant: Grant) -> bytes:
    """Equal for logins whose hosts would do the same things for their clients, wherever these are."""
    same = msgspec.structs.replace(
        grant, client=NOWHERE, server=NOWHERE, last_login=None, environment=None, message=""
    )
    return hashlib.sha256(msgspec.msgpack.encode(same)).digest()


def choose(orphans: Mapping[int, bytes], listener: int, rights: bytes) -> int:
    """The process that the monitor knows the host by: itself, or its keeper; 0: none will do. ``orphans``: rights by process."""
    for pid in (listener, _parent(listener)):
        if pid and orphans.get(pid) == rights:
            return pid
    return 0


def _parent(pid: int) -> int:
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open(f"/proc/{pid}/stat", "rb") as file,
    ):
        return int(file.read(4096).rsplit(b")", 1)[1].split()[1])
    return 0
