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
FIRST_STREAMS: Final = 32
"""That it may have open until it has shown that it wants more: for each that might be opened the engine holds 84 bytes,
86 kB where 1,024 might."""
STREAMS_GROWTH: Final = 4
BASE_BYTES: Final = 32 * 1024 * 1024
STREAM_BYTES: Final = 8 * 1024 * 1024
"""What one stream may hold unread (the engine's stream window)."""
MAX_EXTRA: Final = 16
"""Forwards for which room is made: more than so many that nobody reads stop the connection. 160 MiB in all."""


class ReceiveWindow:
    """Grows with the number of forwards and of streams that the peer has opened, up to a limit. One for each connection."""

    def __init__(self, connection: Connection, *, bidi_streams: int, uni_streams: int) -> None:
        self._connection = connection
        self._bidi_streams, self._uni_streams = bidi_streams, uni_streams
        self._open = self._accepted = 0

    def begin(self) -> None:
        """Give the connection the limits that hold now, where it had others until here."""
        self._connection.set_limits(
            bidi_streams=self._bidi_streams,
            uni_streams=self._uni_streams,
            connection_window=BASE_BYTES + min(self._open, MAX_EXTRA) * STREAM_BYTES,
        )

    def accepted(self) -> None:
        """The peer has opened one bidirectional stream more. All count that it ever opened: one that has ended counts for the
        engine until its end is acknowledged, and whoever opens them fast is not to wait for that."""
        self._accepted += 1
        if self._bidi_streams < MAX_STREAMS and 2 * self._accepted >= self._bidi_streams:
            self._bidi_streams = min(STREAMS_GROWTH * self._bidi_streams, MAX_STREAMS)
            self.begin()

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
        self.begin()
