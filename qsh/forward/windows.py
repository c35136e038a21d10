"""What a connection may receive while it has forwards: one whose reader has stopped must not stop the others."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.quic import Connection

__all__ = ["MAX_STREAMS", "ReceiveWindow"]

MAX_STREAMS: Final = 1024
"""That a peer may have open, of each direction (docs/protocol.md 11.6)."""
BASE_BYTES: Final = 32 * 1024 * 1024
STREAM_BYTES: Final = 8 * 1024 * 1024
"""What one stream may hold unread (the engine's stream window)."""
MAX_EXTRA: Final = 16
"""Forwards for which room is made: more than so many that nobody reads stop the connection. 160 MiB in all."""


class ReceiveWindow:
    """Grows with the number of forwards, up to a limit. One for each connection."""

    def __init__(self, connection: Connection, *, bidi_streams: int, uni_streams: int) -> None:
        self._connection = connection
        self._bidi_streams, self._uni_streams = bidi_streams, uni_streams
        self._open = 0

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        """While a forwarded connection is open."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, step: int) -> None:
        before, self._open = self._open, self._open + step
        if min(before, MAX_EXTRA) == min(self._open, MAX_EXTRA):
            return
        self._connection.set_limits(
            bidi_streams=self._bidi_streams,
            uni_streams=self._uni_streams,
            connection_window=BASE_BYTES + min(self._open, MAX_EXTRA) * STREAM_BYTES,
        )
