"""The monitor's unix socket that answers ``GET /metrics`` (HTTP/1.0), for a Prometheus agent or curl --unix-socket.

In a directory that only its owner enters; only root and qshd's own user are answered. A peer that is slow is not waited for: of
more than eight the oldest is cut off.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import stat
import struct
from typing import TYPE_CHECKING, Any, Final

from qsh.server.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MetricsSocket"]

MAX_PEERS: Final = 8
MAX_REQUEST: Final = 8192


class MetricsSocket:
    """Registered with the monitor's selector until :meth:`close`. Raises OSError if the place is not safe, or cannot be had."""

    def __init__(
        self, path: str, selector: selectors.BaseSelector, page: Callable[[], str]
    ) -> None:
        self.path, self._selector, self._page = path, selector, page
        self._peers: dict[socket.socket, bytes] = {}
        _make_directory(os.path.dirname(path))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    os.unlink(path)  # of a qshd before
            self._listener.bind(path)
            os.chmod(path, 0o600)
            self._listener.listen(MAX_PEERS)
            self._listener.setblocking(False)
        except OSError:
            self._listener.close()
            raise
        self._inode = os.lstat(path).st_ino
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Also the file, if it is still ours."""
        for peer in list(self._peers):
            self._drop(peer)
        self._selector.unregister(self._listener)
        self._listener.close()
        with contextlib.suppress(OSError):
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return
        if _uid_of(peer) not in (0, os.geteuid()):
            peer.close()
            return
        if len(self._peers) >= MAX_PEERS:
            self._drop(next(iter(self._peers)))
        peer.setblocking(False)
        self._peers[peer] = b""
        self._selector.register(peer, selectors.EVENT_READ, lambda: self._read(peer))

    def _read(self, peer: socket.socket) -> None:
        try:
            data = peer.recv(MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        request = self._peers[peer] + data
        if data and b"\n" not in request and len(request) < MAX_REQUEST:
            self._peers[peer] = request
            return
        if data:
            with contextlib.suppress(OSError):  # a page fits into the socket's buffer
                peer.send(self._answer(request))
        self._drop(peer)

    def _answer(self, request: bytes) -> bytes:
        words = request.split(b"\n", 1)[0].split()
        if len(words) < 2 or words[0] != b"GET":
            return b"HTTP/1.0 400 Bad Request\r\n\r\n"
        if words[1] != b"/metrics":
            return b"HTTP/1.0 404 Not Found\r\n\r\n"
        page = self._page().encode()
        head = f"HTTP/1.0 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(page)}\r\n\r\n"
        return head.encode() + page

    def _drop(self, peer: socket.socket) -> None:
        del self._peers[peer]
        self._selector.unregister(peer)
        peer.close()


def _uid_of(peer: socket.socket) -> int:
    credentials: tuple[Any, ...] = struct.unpack(
        "3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return int(credentials[1])


def _make_directory(path: str) -> None:
    os.makedirs(os.path.dirname(path) or "/", 0o755, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.lstat(path)
    if (
        not stat.S_ISDIR(found.st_mode)
        or found.st_uid != os.geteuid()
        or stat.S_IMODE(found.st_mode) & 0o077
    ):
        raise PermissionError(errno.EPERM, f"{path} must be a directory of qshd's own, mode 0700")
