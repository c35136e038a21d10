"""Reading one frame from a stream; the raw bytes behind it stay there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from qsh.quic import RecvStream

__all__ = ["read_frame"]

AHEAD_BYTES: Final = 4096
"""Asked for by one read: nearly all frames are smaller, and come whole with one wake-up instead of two."""

T_co = TypeVar("T_co", covariant=True)


class _FrameReader(Protocol[T_co]):
    @property
    def needed(self) -> int: ...
    @property
    def rest(self) -> bytes: ...
    def receive(self, data: bytes) -> T_co | None: ...


async def read_frame(recv: RecvStream, reader: _FrameReader[T_co]) -> tuple[T_co, int]:
    """The stream's next frame and its length in bytes.

    Raises RemoteProtocolError for a bad or truncated frame, TransportError when the stream or connection fails.
    """
    size = 0
    while True:
        data = await recv.read(max(AHEAD_BYTES, reader.needed))
        size += len(data)
        message = reader.receive(data)
        if message is not None:
            if rest := reader.rest:
                recv.unread(rest)
            return message, size - len(rest)
