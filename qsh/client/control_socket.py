"""The socket of a shared connection (ControlPath): how it is put in place, and messages with descriptors on it."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from qsh.client.log import log
from qsh.errors import RemoteProtocolError
from qsh.wire import framing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.wire.messages import Message

__all__ = ["ControlSocket", "Listener"]

BACKLOG: Final = 1024
MAX_DESCRIPTORS: Final = 3
MAX_WAITING: Final = 1 << 20
"""Bytes that may wait for a client that does not read; then it counts as gone."""
_READ_BYTES: Final = 65536


def _beside(path: str) -> tuple[str, str]:
    """The directory, and another name there."""
    return os.path.dirname(path) or ".", f".qsh-{os.urandom(8).hex()}"


def _bound(folder: str, name: str) -> socket.socket:
    # a long path has no room for another name: bound by a short one, through the directory's descriptor
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        sock.bind(f"/proc/self/fd/{directory}/{name}")
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
        os.close(directory)
    return sock


class Listener:
    """The listening socket. Put in place whole: bound under another name, listening, then linked, as OpenSSH does it."""

    def __init__(self, path: str) -> None:
        """Raises FileExistsError if somebody is there, OSError."""
        self.path = path
        folder, name = _beside(path)
        self.sock = _bound(folder, name)
        try:
            try:
                self.sock.listen(BACKLOG)
                os.link(f"{folder}/{name}", path)
            finally:
                os.unlink(f"{folder}/{name}")
            self._inode = os.stat(path).st_ino
        except BaseException:
            self.sock.close()
            raise

    @staticmethod
    def try_out(path: str) -> None:
        """Whether there can be one; nothing is left behind. Raises OSError."""
        folder, name = _beside(path)
        _bound(folder, name).close()
        os.unlink(f"{folder}/{name}")

    def close(self) -> None:
        """Take it away, unless the name is somebody else's by now. Idempotent."""
        if self.sock.fileno() < 0:
            return
        self.sock.close()
        with contextlib.suppress(OSError):
            if os.stat(self.path, follow_symlinks=False).st_ino == self._inode:
                os.unlink(self.path)


class ControlSocket:
    """Messages of ``kind`` come, with their descriptors. Blocking or not, as ``sock`` is."""

    def __init__(self, sock: socket.socket, kind: Any) -> None:
        self.sock = sock
        self._frames: framing.FrameDecoder[Message] = framing.FrameDecoder(
            kind, framing.LIMIT_OPEN + _READ_BYTES
        )
        self._descriptors: list[int] = []
        self._waiting = bytearray()

    def fileno(self) -> int:
        """For selectors."""
        return self.sock.fileno()

    # -- receiving

    def receive(self) -> bool:
        """Read what is there for :meth:`next`; False at the end.

        Raises BlockingIOError, RemoteProtocolError (more descriptors than any message has).
        """
        try:
            data, control, _, _ = self.sock.recvmsg(
                _READ_BYTES, socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, TimeoutError):
            raise
        except OSError as error:
            log.debug(f"control socket: {error}", 3)
            return False
        for level, kind, packed in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found = array.array("i")
                found.frombytes(packed[: len(packed) - len(packed) % found.itemsize])
                self._descriptors += found
        if len(self._descriptors) > MAX_DESCRIPTORS:
            raise RemoteProtocolError("bad-message", "too many descriptors")
        self._frames.feed(data)
        return bool(data)

    def next(self) -> Message | None:
        """The next whole message. Raises RemoteProtocolError."""
        return self._frames.next()

    def take_descriptors(self, count: int) -> list[int] | None:
        """Those of the message just taken, which are the caller's then; None if they did not come."""
        if len(self._descriptors) != count:
            return None
        taken, self._descriptors = self._descriptors, []
        return taken

    def read(self) -> Message | None:
        """Blocking: the next message, None at the end. Raises RemoteProtocolError, TimeoutError."""
        while (message := self.next()) is None:
            if not self.receive():
                return None
        return message

    # -- sending

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send; on a non-blocking socket what does not fit waits for :meth:`flush`. Raises OSError when nobody is there."""
        data = framing.encode(message)
        if self._waiting and not descriptors:
            if len(self._waiting) > MAX_WAITING:
                raise BrokenPipeError(errno.EPIPE, "the client does not read")
            self._waiting += data
            return
        control = []
        if descriptors:
            rights = array.array("i", descriptors)
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        try:
            sent = self.sock.sendmsg([data], control, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            if descriptors:
                raise BrokenPipeError(errno.EPIPE, "the client does not read") from None
            sent = 0
        while sent < len(data) and self.sock.gettimeout() != 0.0:
            sent += self.sock.send(data[sent:], socket.MSG_NOSIGNAL)
        self._waiting += data[sent:]

    @property
    def waiting(self) -> bool:
        """Bytes wait for :meth:`flush`."""
        return bool(self._waiting)

    def flush(self) -> None:
        """As much as goes. Raises OSError when nobody is there."""
        with contextlib.suppress(BlockingIOError):
            while self._waiting:
                del self._waiting[: self.sock.send(self._waiting, socket.MSG_NOSIGNAL)]

    def close(self) -> None:
        """Close it and every descriptor that nobody took. Idempotent."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._waiting.clear()
        self.sock.close()
