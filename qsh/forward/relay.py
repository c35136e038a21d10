"""One forwarded connection: a socket and a stream, joined natively (docs/protocol.md 11.4).

An end of the data either way is passed on as such and the other way goes on. A connection that was reset is reset on the other
side too, so that nobody takes what is missing for complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from qsh.errors import DescriptorError, StreamReset, TransportError

if TYPE_CHECKING:
    from qsh.quic import Stream

__all__ = ["CODE_RESET", "Relay", "close_with_reset"]

CODE_RESET: Final = 2
"""The stream's application code where the connection behind it was reset or lost."""
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_LINGER_OFF: Final = struct.pack("ii", 0, 0)
_TCP_CLOSE: Final = 7
"""State of a socket (tcp(7), TCP_INFO) that was reset, or that has said and heard the end."""


class Relay:
    """Takes over the socket and the stream; :meth:`run` ends both."""

    def __init__(self, stream: Stream, sock: socket.socket) -> None:
        self._stream, self._sock = stream, sock
        self._sending: asyncio.Task[None] | None = None
        self._said_end = False
        """The socket was told the end of the stream."""
        _no_delay(sock)

    def begin(self) -> None:
        """Send already what the socket has; :meth:`run` follows."""
        self._sending = asyncio.ensure_future(self._send())

    async def open(self, first: bytes) -> None:
        """Write what goes before the socket's bytes; without that :meth:`give_up` is done, and the error raised."""
        try:
            await self._stream.send.write(first)
        except BaseException:
            self.give_up()
            raise

    async def run(self) -> None:
        """Until both ways have ended. Raises TransportError when the connection is lost; never for what the socket does."""
        if self._sending is None:
            self.begin()
        sending = self._sending
        assert sending is not None  # noqa: S101 - begin() has just made it
        sending.add_done_callback(self._sent)
        in_order = False
        try:
            await (
                self._receive()
            )  # here: a task of its own would be a tenth of what a connection costs
            await sending
            in_order = True
        except _Reset:
            pass
        finally:
            sending.cancel()
            self._end(in_order)

    def give_up(self) -> None:
        """Instead of :meth:`run`: the other side could not be had."""
        self._stream.abort(CODE_RESET)
        if self._sending is not None:
            self._sending.cancel()
        _close(self._sock)

    def _end(self, in_order: bool) -> None:
        if in_order:
            _close(self._sock)
            return
        close_with_reset(self._sock)
        self._stream.abort(CODE_RESET)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        """One way has ended. If not in good order, the other one is to end, too."""
        if sending.cancelled() or sending.exception() is not None:
            self._stream.recv.cancel_splice()

    async def _send(self) -> None:
        try:
            await self._stream.send.splice_from(os.dup(self._sock.fileno()), finish=False)
        except StreamReset:
            return  # the other end reads no more; it may still have something to say
        except (DescriptorError, OSError) as error:
            raise _Reset from error
        if self._was_reset():
            raise _Reset
        self._stream.send.finish()

    async def _receive(self) -> None:
        try:
            await self._stream.recv.splice_to(os.dup(self._sock.fileno()))
        except StreamReset as error:
            raise _Reset from error
        except DescriptorError as error:
            if error.code == errno.EPIPE:
                return  # this one reads no more; it may still have something to say
            raise _Reset from error
        except TransportError as error:
            if error.kind != "cancelled":
                raise
            return  # by _sent: the other way says why
        except OSError as error:
            raise _Reset from error
        self._said_end = True

    def _was_reset(self) -> bool:
        """Whether what looked like an end was a reset, of which the writing side was told already."""
        if self._said_end or self._sock.family == socket.AF_UNIX:
            return False
        try:
            return self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
        except OSError:
            return False


def close_with_reset(sock: socket.socket) -> None:
    """Close so that the other side does not take it for an end in good order, where the system can say so (TCP)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    sock.close()


def _close(sock: socket.socket) -> None:
    """At once: who made the socket may have asked for a close that waits (SO_LINGER)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
    sock.close()


def _no_delay(sock: socket.socket) -> None:
    if sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Reset(Exception):
    """Either end was cut off."""
