"""What the user types in a terminal session: read here, filtered for escapes, sent on in order."""

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

__all__ = ["TypedInput"]

_READ_BYTES: Final = 16384
_WAITING_BYTES: Final = 1 << 20
"""Typed bytes kept while the connection takes none. Reading goes on until then, so that ``~.`` is
heard on a dead link.
"""


class TypedInput:
    """Reads ``fd`` and writes to ``send``; escapes go to ``act``."""

    def __init__(
        self, fd: int, send: SendStream, keys: EscapeFilter, act: Callable[[Action], None]
    ) -> None:
        self._fd, self._send, self._keys, self._act = fd, send, keys, act
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting = 0
        self._reading = False
        self._regular = False

    async def run(self) -> None:
        """Until the input ends; then the stream is finished."""
        self.resume()
        try:
            while data := await self._queue.get():
                await self._send.write(data)
                self._waiting -= len(data)
                if self._waiting < _WAITING_BYTES:
                    self.resume()
            self._send.finish()
        except QshError as error:
            log.debug(f"input: {error}", 2)
        finally:
            self.pause()

    def resume(self) -> None:
        """Listen to the descriptor."""
        if self._reading:
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
        self._queue.put_nowait(b"")

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
        for item in self._keys.receive(data):
            if isinstance(item, bytes):
                self._waiting += len(item)
                self._queue.put_nowait(item)
            else:
                self._act(item)
        if self._waiting >= _WAITING_BYTES:
            self.pause()
        elif self._regular:
            asyncio.get_running_loop().call_soon(self._readable)
