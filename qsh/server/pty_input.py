"""What clients have typed, on its way into the terminal: in the order of its arrival, as far as the terminal takes it."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.attachment import Attachment

__all__ = ["PtyInput"]


class PtyInput:
    """``mark`` counts the bytes that all clients and the terminal's own answers have put into it."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._waiting: deque[tuple[Attachment | None, bytes]] = deque()
        self.size = 0
        """Bytes that wait."""
        self.mark = 0

    def put(self, attachment: Attachment | None, data: bytes) -> None:
        """Behind what waits; without an attachment it is an answer to a program's question."""
        self._waiting.append((attachment, data))
        self.size += len(data)

    def clear(self) -> None:
        """Nobody will read it."""
        self._waiting.clear()
        self.size = 0

    def write(self, typed: Callable[[bytes], None] | None) -> list[Attachment]:
        """What the terminal takes now; whose keys were among it. ``typed`` hears of these keys."""
        wrote: dict[int, Attachment] = {}
        try:
            while self._waiting:
                attachment, data = self._waiting[0]
                count = os.write(self._master, data)
                self.mark += count
                self.size -= count
                if attachment is not None:
                    if typed is not None:
                        typed(data[:count])
                    attachment.input.wrote(count, self.mark)
                    wrote[id(attachment)] = attachment
                if count < len(data):
                    self._waiting[0] = (attachment, data[count:])
                    if not count:
                        break
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.clear()  # it is hung up
        return list(wrote.values())
