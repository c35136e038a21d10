"""How an X11 connection begins (X Window System Protocol, 8): who connects says by which protocol he may, and shows a cookie.

Programs on the host have a cookie that is good for nothing else; the client looks at it and puts the display's in its place.
A caller that never reads more than :attr:`Setup.needed` bytes leaves the data behind the setup alone.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from qsh.errors import RemoteProtocolError

if TYPE_CHECKING:
    from typing import Literal

    Order = Literal["big", "little"]

__all__ = ["Setup"]

HEADER: Final = 12
MAX_TEXT: Final = 256
"""Bytes of the protocol's name, and of the cookie."""


class Setup:
    """Bytes in, until :attr:`needed` is 0."""

    def __init__(self) -> None:
        self.needed = HEADER
        """Bytes to be read next, at most; 0 when the setup is complete."""
        self._data = bytearray()
        self._order: Order = "big"
        self._sizes = (0, 0)

    def receive(self, data: bytes) -> None:
        """Raises RemoteProtocolError (``bad-x11``), also at the end (empty ``data``)."""
        if not data:
            raise RemoteProtocolError("bad-x11", "the end, in the middle of it")
        self._data += data
        self.needed -= len(data)
        if self.needed < 0:
            raise RemoteProtocolError("bad-x11", "more than was asked for")
        if not self.needed and len(self._data) == HEADER:
            self._read_header()

    def _read_header(self) -> None:
        orders: dict[int, Order] = {0x42: "big", 0x6C: "little"}
        order = orders.get(self._data[0])
        if order is None:
            raise RemoteProtocolError("bad-x11", f"byte order {self._data[0]:#x}")
        self._order = order
        name, cookie = self._size(6), self._size(8)
        if name > MAX_TEXT or cookie > MAX_TEXT:
            raise RemoteProtocolError("bad-x11", f"{name} and {cookie} bytes of authorization")
        self._sizes = name, cookie
        self.needed = _padded(name) + _padded(cookie)

    def _size(self, at: int) -> int:
        return int.from_bytes(self._data[at : at + 2], self._order)

    def _texts(self) -> tuple[bytes, bytes]:
        name, cookie = self._sizes
        at = HEADER + _padded(name)
        return bytes(self._data[HEADER : HEADER + name]), bytes(self._data[at : at + cookie])

    def shows(self, protocol: bytes, cookie: bytes) -> bool:
        """Whether the setup is complete and shows this."""
        if self.needed or len(self._data) < HEADER:
            return False
        name, shown = self._texts()
        return hmac.compare_digest(shown, cookie) and name == protocol

    def with_cookie(self, protocol: bytes, cookie: bytes) -> bytes:
        """The setup for the display, which is to see this."""
        header = bytearray(self._data[:HEADER])
        header[6:8] = len(protocol).to_bytes(2, self._order)
        header[8:10] = len(cookie).to_bytes(2, self._order)
        return bytes(header) + _fill(protocol) + _fill(cookie)


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _fill(text: bytes) -> bytes:
    return text.ljust(_padded(len(text)), b"\0")
