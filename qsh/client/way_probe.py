"""Probes of a way to a host, from a socket of their own: an Initial of a version that nobody speaks, which a server answers with
those that it does (RFC 9000 6.1, docs/protocol.md 15.4). No login, and nothing that the server keeps.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from qsh.client.addresses import udp_socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.addresses import Target
    from qsh.client.path_choice import Way

__all__ = ["TOKEN_BYTES", "WayProbe", "answer_number", "probe"]

_HEAD: Final = b"\xc0\x0a\x1a\x2a\x3a\x08"
_ID_BYTES: Final = 8
TOKEN_BYTES: Final = 6
_SIZE: Final = 1200
"""The least that a server answers."""
_ANSWER_BYTES: Final = 2048


def probe(token: bytes, number: int) -> bytes:
    """``token``: six bytes that nobody else knows."""
    mark = token + number.to_bytes(_ID_BYTES - TOKEN_BYTES)
    return (_HEAD + mark + bytes([_ID_BYTES]) + mark).ljust(_SIZE, b"\0")


def answer_number(data: bytes, token: bytes) -> int | None:
    """Of the probe that this answers; None: it is something else."""
    mark = data[6 : 6 + _ID_BYTES]
    head = len(data) > 2 * _ID_BYTES + 7 and data[0] & 0x80 and data[1:6] == b"\0\0\0\0\x08"
    if not head or mark[:TOKEN_BYTES] != token:
        return None
    return int.from_bytes(mark[TOKEN_BYTES:])


class WayProbe:
    """A socket that goes this way, until :meth:`close`."""

    def __init__(self, target: Target, way: Way, answered: Callable[[Way, int], None]) -> None:
        """Raises ConnectError, OSError: there is no such way now."""
        self._way, self._answered = way, answered
        self._token = os.urandom(TOKEN_BYTES)
        if way.interface is not None:
            target = target._replace(bind_interface=way.interface)
        self._socket = udp_socket(target, way.address.family)
        try:
            self._socket.setblocking(False)
            self._socket.connect((way.address.host, target.port_of(way.address)))
        except OSError:
            self._socket.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def send(self, number: int) -> None:
        """One probe. What cannot be sent is lost."""
        try:
            self._socket.send(probe(self._token, number))
        except OSError:
            return

    def _read(self) -> None:
        while True:
            try:
                data = self._socket.recv(_ANSWER_BYTES)
            except OSError:  # nothing more, or word that nobody is there: no answer either
                return
            if (number := answer_number(data, self._token)) is not None:
                self._answered(self._way, number)

    def close(self) -> None:
        """Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
