"""One end of a local SOCK_SEQPACKET pair: typed messages with descriptors."""

from __future__ import annotations

import array
import contextlib
import functools
import os
import resource
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from qsh.errors import RemoteProtocolError
from qsh.server.requests import MAX_PACKET, Local, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PacketSocket", "packet_pair", "raise_descriptor_limit"]

MAX_DESCRIPTORS: Final = 4
MAX_QUEUED: Final = 4096
"""Packets that may wait for a peer that does not read; then the pair counts as broken."""

M = TypeVar("M")

# Numbers, not members of socket's enumerations: what these do in Python with each packet dirties pages of every session host.
_SOL_SOCKET, _SCM_RIGHTS = int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS)
_MSG_NOSIGNAL, _MSG_CMSG_CLOEXEC = int(socket.MSG_NOSIGNAL), int(socket.MSG_CMSG_CLOEXEC)
_MSG_TRUNC, _MSG_CTRUNC = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)
_CONTROL_BYTES: Final = socket.CMSG_SPACE(4 * MAX_DESCRIPTORS)


@functools.cache
def _decoder(kind: Any) -> Any:
    """Made once for each union, before the fork: it costs a process pages of its own."""
    return msgspec.msgpack.Decoder(kind).decode


def raise_descriptor_limit() -> None:
    """As many descriptors as the system lets us have: front and monitor hold some for every session."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def packet_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets whose buffers take the largest packet."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in pair:
        try:
            end.setsockopt(socket.SOL_SOCKET, 32, 2 * MAX_PACKET)  # SO_SNDBUFFORCE
        except OSError:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_PACKET)
    return pair


class PacketSocket(Generic[M]):
    """Non-blocking; packets that do not fit wait in a queue for :meth:`flush`."""

    def __init__(self, sock: socket.socket, kind: Any) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._decode = _decoder(kind)
        self._queue: deque[tuple[bytes, list[int]]] = deque()

    def fileno(self) -> int:
        """For selectors."""
        return self.sock.fileno()

    @property
    def waiting(self) -> bool:
        """Packets are queued: call :meth:`flush` when the socket is writable."""
        return bool(self._queue)

    def send(self, message: Local, descriptors: Sequence[int] = ()) -> None:
        """Send or queue; the descriptors are taken over and closed once sent. Raises OSError when the peer is gone."""
        if len(self._queue) >= MAX_QUEUED:
            _close_all(descriptors)
            raise BrokenPipeError("the peer does not read")
        self._queue.append((encode(message), list(descriptors)))
        self.flush()

    def flush(self) -> None:
        """Send what is queued, as far as the peer takes it. Raises OSError when it is gone."""
        while self._queue:
            data, descriptors = self._queue[0]
            control = (
                [(_SOL_SOCKET, _SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            )
            try:
                self.sock.sendmsg([data], control, _MSG_NOSIGNAL)
            except BlockingIOError:
                return
            self._queue.popleft()
            _close_all(descriptors)

    def receive(self) -> tuple[M, list[int]] | None:
        """The next message with its descriptors, which are missing if we may have no more; None when none waits now.

        Raises EOFError when the peer is gone, RemoteProtocolError for a packet that is not of the expected kind.
        """
        try:
            data, control, flags, _ = self.sock.recvmsg(
                MAX_PACKET, _CONTROL_BYTES, _MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        except OSError:  # also EBADF: somebody closed it meanwhile
            raise EOFError from None
        descriptors = _descriptors(control)
        try:
            if not data:
                raise EOFError
            if flags & _MSG_TRUNC:
                raise RemoteProtocolError("local-message", "truncated")
            if flags & _MSG_CTRUNC:  # our limit is reached: what came is of no use alone
                _close_all(descriptors)
                descriptors = []
            try:
                return self._decode(data), descriptors
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise RemoteProtocolError("local-message", str(error)) from None
        except BaseException:
            _close_all(descriptors)
            raise

    def close(self) -> None:
        """Close the socket and every descriptor still queued."""
        for _, descriptors in self._queue:
            _close_all(descriptors)
        self._queue.clear()
        self.sock.close()


def _descriptors(control: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in control:
        if level == _SOL_SOCKET and kind == _SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
