"""Streams: bytes one way or both, from Python or spliced with a descriptor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsh import _native
from qsh.quic.runtime import Pending

if TYPE_CHECKING:
    from qsh.quic.connection import Connection

__all__ = ["RecvStream", "SendStream", "Stream"]

READ_BYTES: Final = 65536
"""Asked for by one read."""


class SendStream:
    """The sending half. Dropped without :meth:`finish` or :meth:`reset`, it is reset."""

    def __init__(self, connection: Connection, native: _native.SendStream) -> None:
        self._connection = connection
        self._call = connection.driver.call
        self.native = native

    @property
    def id(self) -> int:
        """QUIC's number of the stream."""
        return self.native.id

    @property
    def total(self) -> int:
        """Bytes accepted for sending so far."""
        return self.native.total

    def set_priority(self, priority: int) -> None:
        """Higher goes first; 0 is where all start."""
        self.native.set_priority(priority)

    async def write(self, data: bytes) -> None:
        """Return when all is in the send buffer. A cancelled write goes on by itself."""
        await self._call(self.native.write, data)

    def begin_write(self, data: bytes) -> asyncio.Future[None]:
        """Start a :meth:`write` now, without a task. They go in the order of their starts; the future may be dropped."""
        return self._call(self.native.write, data)

    def put(self, data: bytes) -> None:
        """As :meth:`begin_write`, where nobody asks how it went: no wake-up tells."""
        self._connection.driver.call_unheard(self.native.write, data)

    def finish(self) -> None:
        """Half-close behind everything written."""
        self.native.finish()

    def reset(self, code: int = 0) -> None:
        """Give up at once; the peer sees the code."""
        self.native.reset(code)

    async def acknowledged(self) -> None:
        """After :meth:`finish`: return when the peer has all of it."""
        await self._call(self.native.acknowledged)

    async def splice_from(self, fd: int, *, shared: bool = False, finish: bool = True) -> int:
        """Copy a descriptor, which is given away, until its end; the number of bytes. Cancelling ends the splice."""
        try:
            return int(await self._call(self.native.splice_from, fd, shared=shared, finish=finish))
        except asyncio.CancelledError:
            self.native.cancel_splice()
            raise

    def cancel_splice(self) -> None:
        """End a running splice: its waiter sees a TransportError of the kind ``cancelled``."""
        self.native.cancel_splice()


class RecvStream:
    """The receiving half. Dropped before its end, it is stopped."""

    def __init__(self, connection: Connection, native: _native.RecvStream) -> None:
        self._connection = connection
        self._call = connection.driver.call
        self.native = native
        self._max_bytes = READ_BYTES
        self._rest = b""
        self._pending: Pending[bytes] = Pending(self._start)

    def _start(self) -> asyncio.Future[bytes]:
        return self._call(self.native.read, self._max_bytes)

    @property
    def id(self) -> int:
        """QUIC's number of the stream."""
        return self.native.id

    @property
    def total(self) -> int:
        """Bytes delivered so far."""
        return self.native.total

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """Some bytes; empty at the end. A cancelled read loses nothing: the next one gets it."""
        self._max_bytes = max_bytes
        data = self._rest or await self._pending.wait()
        self._rest = data[max_bytes:]
        return data[:max_bytes] if self._rest else data

    def unread(self, data: bytes) -> None:
        """Put back what the last :meth:`read` brought too much; it counts as not delivered."""
        if self._pending.busy:
            raise RuntimeError("another read is under way")
        self.native.unread(data + self._rest)
        self._rest = b""

    def stop(self, code: int = 0) -> None:
        """Tell the peer that nothing more is wanted."""
        self.native.stop(code)

    async def splice_to(self, fd: int, *, shared: bool = False) -> int:
        """Copy the stream into a descriptor, which is given away; the number of bytes. Cancelling ends the splice."""
        if self._rest or self._pending.busy:
            raise RuntimeError("a cancelled read still holds data of this stream")
        try:
            return int(await self._call(self.native.splice_to, fd, shared=shared))
        except asyncio.CancelledError:
            self.native.cancel_splice()
            raise

    def cancel_splice(self) -> None:
        """End a running splice; what was not written is there for the next read or splice."""
        self.native.cancel_splice()


class Stream:
    """Both halves of a bidirectional stream."""

    def __init__(
        self, connection: Connection, send: _native.SendStream, recv: _native.RecvStream
    ) -> None:
        self._connection = connection
        self.send = SendStream(connection, send)
        self.recv = RecvStream(connection, recv)

    @property
    def id(self) -> int:
        """QUIC's number of the stream."""
        return self.send.id

    def abort(self, code: int = 0) -> None:
        """Give up both directions."""
        self.send.reset(code)
        self.recv.stop(code)

    def peel(self) -> int:
        """The stream as a descriptor of its own, which the caller owns. The connection must be kept."""
        return _native.peel(self._connection.driver.native, self.send.native, self.recv.native)
