"""Where the socket of a shared connection is (ControlPath), and who may be at its other end."""

from __future__ import annotations

import _socket  # socket makes enumerations of all its names: more time than all that is done here
import errno
import os
import struct

from qsh.client.text import visible
from qsh.errors import QshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["PathTooLong", "connect", "is_ours", "socket_path"]

SUFFIX: Final = ".qsh"
"""Behind every ControlPath: ssh's clients would not understand what is said on it, nor ours what is said on theirs."""
MAX_PATH: Final = 108
"""sun_path with its NUL."""
_UCRED = struct.Struct("3i")


class PathTooLong(QshError):
    """A ControlPath that no socket can have."""


def socket_path(control_path: str) -> str:
    """Where the socket for this ControlPath is. Raises PathTooLong, in OpenSSH's words."""
    path = control_path + SUFFIX
    if len(os.fsencode(path)) >= MAX_PATH:
        raise PathTooLong(f"ControlPath too long ('{visible(path)}' >= {MAX_PATH} bytes)")
    return path


def is_ours(sock: _socket.socket) -> bool:
    """Whether the process at the other end is this user's, or root's."""
    packed = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(packed)
    return uid in (0, os.geteuid())


def connect(path: str) -> _socket.socket:
    """To a master. Raises OSError; EPERM for somebody else's."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(path)
        if not is_ours(sock):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    except BaseException:
        sock.close()
        raise
    return sock
