"""The socket by which ``qshctl status`` asks this process how its connection does.

Whoever connects and is this user (or root) is told one JSON object, and nothing is read from anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from qsh.client.control_path import is_ours
from qsh.client.log import log
from qsh.client.status_directory import directory, is_private, socket_of
from qsh.errors import QshError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StatusSocket"]

SAMPLE_S: Final = 0.25
"""For the rates of now: between two looks at the counters."""
BACKLOG: Final = 16
_COUNTERS: Final = ("received_bytes", "sent_bytes", "delivered_bytes")


class StatusSocket:
    """There until :meth:`close`. Where it cannot be, nobody is told anything."""

    def __init__(self, about: dict[str, Any], figures: Callable[[], dict[str, Any]]) -> None:
        """``about`` is told besides what ``figures`` says at that moment."""
        self._about, self._figures = about, figures
        self._loop = asyncio.get_running_loop()
        self._path = socket_of(os.getpid())
        self._sock: socket.socket | None = None
        try:
            self._sock = self._listen()
        except OSError as error:
            log.debug(f"status socket {self._path}: {error.strerror}", 2)
            return
        self._loop.add_reader(self._sock.fileno(), self._accept, self._sock)

    def _listen(self) -> socket.socket:
        os.makedirs(directory(), 0o700, exist_ok=True)
        if not is_private():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # of a process that had our number and was killed
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            sock.bind(self._path)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(before)
        return sock

    def _accept(self, listener: socket.socket) -> None:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        if not is_ours(peer):
            peer.close()
            return
        before, since_s = self._look(), self._loop.time()
        self._loop.call_later(SAMPLE_S, self._tell, peer, before, since_s)

    def _tell(self, peer: socket.socket, before: dict[str, Any], since_s: float) -> None:
        now = self._look()
        took_s = self._loop.time() - since_s
        rates = {
            name.replace("_bytes", "_bytes_per_s"): max(
                0, round((now[name] - before[name]) / took_s)
            )
            for name in _COUNTERS
            if name in now and name in before
        }
        told = {**self._about, "pid": os.getpid(), **now, **rates}
        with peer, contextlib.suppress(OSError):
            peer.setblocking(False)
            peer.send(json.dumps(told).encode())  # it fits into any socket's buffer

    def _look(self) -> dict[str, Any]:
        """Nothing where there is no connection just now."""
        try:
            return self._figures()
        except QshError:
            return {}

    def close(self) -> None:
        """Take it away. Idempotent."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)
