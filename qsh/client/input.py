"""What the user types: read here, filtered for escapes, handed on in order."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from qsh.client.log import log
from qsh.errors import QshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.quic import SendStream
    from qsh.terminal.escape import Action, EscapeFilter

__all__ = ["WAITING_BYTES", "Keys", "TypedInput"]

_READ_BYTES: Final = 16384
WAITING_BYTES: Final = 1 << 20
"""Typed bytes kept while the connection takes none. Reading goes on until then, so that ``~.`` is
heard on a dead link.
"""


class Keys:
    """Listens to ``fd``: text goes to ``typed``, escapes to ``act``, the end to ``ended``."""

    def __init__(
        self,
        fd: int,
        keys: EscapeFilter,
        *,
        typed: Callable[[bytes], None],
        act: Callable[[Action], None],
        ended: Callable[[], None],
        sift: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """``sift`` takes out what no user typed."""
        self._fd, self._keys, self._sift = fd, keys, sift
        self._typed, self._act, self._ended = typed, act, ended
        self._reading = False
        self._regular = False
        self._over = False
        self.diverted: Callable[[bytes], None] | None = None
        """Gets what is typed instead, escapes and all."""

    def resume(self) -> None:
        """Listen to the descriptor."""
        if self._reading or self._over:
            return
        self._reading = True
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(self._fd, self._readable)
        except PermissionError:  # a regular file is always readable
            self._regular = True
            loop.call_soon(self._readable)
        except OSError:
            self._end()

    def pause(self) -> None:
        """Leave the descriptor alone."""
        if self._reading:
            self._reading = False
            if not self._regular:
                asyncio.get_running_loop().remove_reader(self._fd)

    def _end(self) -> None:
        self.pause()
        self._over = True
        self._ended()

    def _readable(self) -> None:
        if not self._reading:
            return
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        if self._sift is not None:
            data = self._sift(data)
        self.receive(data)
        if self._regular and self._reading:
            asyncio.get_running_loop().call_soon(self._readable)

    def receive(self, data: bytes) -> None:
        """As typed."""
        if self.diverted is not None:
            self.diverted(data)
            return
        for item in self._keys.receive(data):
            if not isinstance(item, bytes):
                self._act(item)
            elif self.diverted is not None:  # by the escape before it
                self.diverted(item)
            else:
                self._typed(item)


class TypedInput:
    """Reads ``fd`` and writes to ``send``; escapes go to ``act``."""

    def __init__(
        self, fd: int, send: SendStream, keys: EscapeFilter, act: Callable[[Action], None]
    ) -> None:
        self._send = send
        self._keys = Keys(fd, keys, typed=self._typed, act=act, ended=self._ended)
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting = 0

    async def run(self) -> None:
        """Until the input ends; then the stream is finished."""
        self._keys.resume()
        try:
            while data := await self._queue.get():
                await self._send.write(data)
                self._waiting -= len(data)
                if self._waiting < WAITING_BYTES:
                    self._keys.resume()
            self._send.finish()
        except QshError as error:
            log.debug(f"input: {error}", 2)
        finally:
            self._keys.pause()

    def _typed(self, data: bytes) -> None:
        self._waiting += len(data)
        self._queue.put_nowait(data)
        if self._waiting >= WAITING_BYTES:
            self._keys.pause()

    def _ended(self) -> None:
        self._queue.put_nowait(b"")
