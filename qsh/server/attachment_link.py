"""The two sockets of an attachment: a stream, where all is queued, and datagrams, which go at once or not at all."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

from qsh.clock import monotonic_s
from qsh.errors import RemoteProtocolError
from qsh.server.event_loop import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.attachment import Attachment
    from qsh.server.event_loop import EventLoop

__all__ = ["AttachmentLink", "socket_pairs"]

READ_BYTES: Final = 64 * 1024
MAX_DATAGRAMS: Final = 32
"""Read in one go; the rest waits for its turn."""
DATAGRAM_SIZE: Final = 2048
MAX_UNSENT: Final = 4 << 20
"""Bytes for a client that does not read; one that follows the rules never has half of that waiting."""
LINGER_S: Final = 1.0
"""After the last message the client's side may take so long to close."""


def socket_pairs() -> tuple[tuple[socket.socket, socket.socket], tuple[int, int]]:
    """Our stream and datagram sockets, and the descriptors of the far ends. Raises OSError."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        near_datagrams, far_datagrams = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    except OSError:
        near.close()
        far.close()
        raise
    return (near, near_datagrams), (far.detach(), far_datagrams.detach())


class AttachmentLink:
    """Moves bytes between the sockets and the :class:`Attachment`; ``on_end`` is called once, when the stream is at its end."""

    def __init__(
        self,
        loop: EventLoop,
        sockets: tuple[socket.socket, socket.socket],
        attachment: Attachment,
        on_input: Callable[[], None],
        on_end: Callable[[AttachmentLink, str], None],
    ) -> None:
        self._loop = loop
        self._stream, self._datagrams = sockets
        self.attachment = attachment
        self._on_input, self._on_end = on_input, on_end
        self._unsent = memoryview(b"")
        self._closing_at: float | None = None
        self._open = True
        self._broken = False
        self._takes_input = True
        for sock in sockets:
            sock.setblocking(False)
        self._watch()
        loop.watch(self._datagrams.fileno(), READ, self._read_datagrams)

    def _watch(self) -> None:
        events = (READ if self._takes_input or self._closing_at is not None else 0) | (
            WRITE if self._unsent else 0
        )
        self._loop.watch(self._stream.fileno(), events, self._ready)

    def take_input(self, wanted: bool) -> None:
        """Read on from the stream, or not: the terminal has enough to do."""
        if wanted != self._takes_input and self._open:
            self._takes_input = wanted
            self._watch()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self.flush()
            if self._open and not self._unsent:
                self._on_input()  # what waited for room may go on
        if events & READ and self._open:
            self._read_stream()

    def _read_stream(self) -> None:
        try:
            data = self._stream.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close("")
            return
        if self._closing_at is not None or self.attachment.over:
            return  # it has not read our last word yet
        try:
            self.attachment.receive_stream(monotonic_s(), data)
        except RemoteProtocolError as error:
            self.attachment.put_out(error.code)
            self.attachment.fault = str(error)
        self._on_input()

    def _read_datagrams(self, _events: int) -> None:
        now = monotonic_s()
        for _ in range(MAX_DATAGRAMS):
            try:
                data = self._datagrams.recv(DATAGRAM_SIZE)
            except BlockingIOError:
                break
            except OSError:
                self._loop.forget(self._datagrams.fileno())
                break
            self.attachment.receive_datagram(now, data, takes_input=self._takes_input)
        self._on_input()

    def flush(self) -> None:
        """Send what the attachment has to say, as far as the peer takes it."""
        if not self._open or self._broken:
            return
        for datagram in self.attachment.datagrams:
            with contextlib.suppress(OSError):  # full, or gone: the stream brings it
                self._datagrams.send(datagram)
        self.attachment.datagrams.clear()
        queue = self.attachment.stream
        if not queue and not self._unsent and not self.attachment.over:
            return
        try:
            while queue or self._unsent:
                if not self._unsent:
                    self._unsent = memoryview(queue.popleft())
                sent = self._stream.send(self._unsent, socket.MSG_NOSIGNAL)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            self._limit_unsent()
        except OSError:  # gone: what it typed before is still to be read, up to the end
            self._broken = True
            self._unsent = memoryview(b"")
        if self.attachment.over and not self._unsent and self._closing_at is None:
            self._closing_at = monotonic_s() + LINGER_S
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_WR)
        self._watch()

    def _limit_unsent(self) -> None:
        """Flow control bounds what an honest client has not read; who claims to have read it is put out."""
        waiting = len(self._unsent) + sum(map(len, self.attachment.stream))
        if waiting > MAX_UNSENT:
            self.attachment.stream.clear()
            self._unsent = memoryview(b"")
            self.attachment.over, self.attachment.fault = True, "it does not read"
            self._broken, self._closing_at = True, monotonic_s()

    def deadline(self) -> float | None:
        """When :meth:`expire` is due."""
        return self._closing_at

    def expire(self, now: float) -> None:
        """The peer has had its time to read the last word."""
        if self._closing_at is not None and now >= self._closing_at:
            self.close("")

    def close(self, reason: str) -> None:
        """Idempotent."""
        if not self._open:
            return
        self._open = False
        for sock in (self._stream, self._datagrams):
            self._loop.forget(sock.fileno())
            sock.close()
        self._on_end(self, reason)
