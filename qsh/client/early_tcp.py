"""A TCP connection that comes about while what will use it is loaded: asyncssh takes longer to import than a round trip."""

from __future__ import annotations

import socket
from threading import Thread
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.client.addresses import Address

__all__ = ["EarlyTcp"]

_GRACE_S: Final = 0.3
"""How long one that is under way is waited for before another is begun."""


class EarlyTcp:
    """An attempt at the first address. Whoever uses it tries the others if that fails."""

    def __init__(self, addresses: Sequence[Address], port: int, limit_s: float) -> None:
        self._sock: socket.socket | None = None
        self._given_up = False
        where = (addresses[0].family, addresses[0].host, port) if addresses else None
        self._thread = Thread(target=self._connect, args=(where, limit_s), daemon=True)
        self._thread.start()

    def _connect(self, where: tuple[int, str, int] | None, limit_s: float) -> None:
        if where is None:
            return
        family, host, port = where
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(limit_s)
            sock.connect((host, port))
            sock.setblocking(False)
        except OSError:
            sock.close()
            return
        self._sock = sock
        if self._given_up:
            self.close()

    def take(self) -> socket.socket | None:
        """The connection, which is the caller's from now on; None: there is none yet."""
        if self._thread.is_alive():
            self._thread.join(_GRACE_S)
        sock, self._sock = self._sock, None
        self._given_up = sock is None
        return sock

    def close(self) -> None:
        """Idempotent."""
        self._given_up = True
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()
