"""Standard output of a terminal session: never waited for, bounded, and counted.

What counts as shown is what the terminal took, not what was handed on: the host measures by it how much may be under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections import deque
from typing import TYPE_CHECKING, Final

from qsh.errors import DescriptorError
from qsh.terminal.screen import pour

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TerminalOutput"]

FULL_BYTES: Final = 64 * 1024
"""More than this waiting, and nothing is read from the connection."""
POUR_US: Final = 2000
"""So long at a time a terminal that takes a few kilobytes after the other is written to without going back to the loop."""
_SHARED_BYTES: Final = 256
"""Written at once to a terminal that blocks: what it takes without blocking when it is writable (Linux n_tty)."""
_PIPE_BYTES: Final = 4096
"""The same for a pipe (PIPE_BUF)."""


class TerminalOutput:
    """Writes to ``fd`` as far as it takes bytes without blocking.

    The descriptor is somebody else's too (a shell's), so it must not be made non-blocking: the file behind it is opened
    anew, and where that cannot be, so little is written at once that it does not block.
    """

    def __init__(self, fd: int, progressed: Callable[[], None]) -> None:
        """``progressed`` is called when :attr:`consumed` has grown outside of :meth:`put`."""
        self._progressed = progressed
        self._chunks: deque[tuple[bytes, int, bool]] = deque()
        self._begun = 0
        """So much of the first one is written."""
        self._waiting = 0
        self.consumed = 0
        """Output that the terminal has taken, as an offset."""
        self.error: DescriptorError | None = None
        """Why nothing can be written any more."""
        self._drained = asyncio.Event()
        self._drained.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._paused = False
        self._watched = False
        self._own = False
        self._fd, self._at_once = self._open(fd)

    def _open(self, fd: int) -> tuple[int, int]:
        try:
            mode = os.fstat(fd).st_mode
        except OSError as error:
            self._fail(error)
            return fd, 0
        if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
            return fd, _PIPE_BYTES if stat.S_ISSOCK(mode) else FULL_BYTES
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            opened = os.open(f"/proc/self/fd/{fd}", flags)
            self._own = True
            return opened, FULL_BYTES
        return fd, _SHARED_BYTES if stat.S_ISCHR(mode) else _PIPE_BYTES

    def put(self, data: bytes, offset: int, *, whole: bool = False) -> None:
        """Write ``data``, which brings the output to ``offset``. ``whole``: a part of it shows nothing of that."""
        if self.error is not None or (not data and offset <= self.consumed):
            return
        self._chunks.append((data, offset, whole))
        self._waiting += len(data)
        if self._watched or self._paused:
            self._signal()
        else:
            self._write()

    @property
    def is_full(self) -> bool:
        """Read no more until :meth:`drained`."""
        return self._waiting >= FULL_BYTES

    async def drained(self) -> None:
        """Return when there is room. Raises DescriptorError."""
        await self._drained.wait()
        if self.error is not None:
            raise self.error

    async def flushed(self, limit_s: float | None = None) -> None:
        """Return when all is written, or the limit has passed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), limit_s)

    def pause(self) -> None:
        """Write nothing: the terminal is somebody else's."""
        self._paused = True
        self._watch(False)

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self._write()

    def close(self) -> None:
        """Give up what waits."""
        self._watch(False)
        if self._own:
            self._own = False
            os.close(self._fd)
        self._chunks.clear()
        self.error = self.error or DescriptorError("closed", kind="closed-locally")

    def _write(self) -> None:
        """As much as goes; the rest when the descriptor is writable."""
        before = self.consumed
        try:
            while self._chunks:
                data, offset, whole = self._chunks[0]
                size = self._write_some(data) if data else 0
                self._waiting -= size
                self._begun += size
                left = len(data) - self._begun
                if left:
                    if not whole:  # what is left holds at most so many bytes of the output
                        self.consumed = max(self.consumed, offset - left)
                    break
                self._chunks.popleft()
                self._begun = 0
                self.consumed = max(self.consumed, offset)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._fail(error)
        self._tell(grown=self.consumed > before)

    def _write_some(self, data: bytes) -> int:
        if self._own:
            return pour(self._fd, data, self._begun, POUR_US)
        return os.write(self._fd, data[self._begun : self._begun + self._at_once])

    def _tell(self, *, grown: bool) -> None:
        self._signal()
        watched = self._watched
        self._watch(bool(self._chunks))
        if grown and watched:
            self._progressed()

    def _signal(self) -> None:
        _turn(self._drained, on=not self.is_full)
        _turn(self._empty, on=not self._chunks)

    def _watch(self, on: bool) -> None:
        if on == self._watched:
            return
        self._watched = on
        loop = asyncio.get_running_loop()
        if not on:
            loop.remove_writer(self._fd)
            return
        try:
            loop.add_writer(self._fd, self._write)
        except PermissionError:  # a file, which is always writable
            self._watched = False
            loop.call_soon(self._write)

    def _fail(self, error: OSError) -> None:
        code = error.errno or 0
        self.error = DescriptorError(os.strerror(code), kind="fd-error", code=code)
        self._chunks.clear()
        self._waiting = 0
        self._signal()
        self._progressed()


def _turn(event: asyncio.Event, *, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
