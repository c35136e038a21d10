"""Channel streams: OPEN, the answer, then raw bytes (docs/protocol.md 6); and the headers of unidirectional streams."""

from __future__ import annotations

from qsh.errors import RemoteProtocolError
from qsh.wire import framing
from qsh.wire.messages import ChannelAnswer, Failed, Open, Opened, UniHeader

__all__ = ["AnswerReader", "HeaderReader", "OpenReader"]


class _Reader:
    """Reads exactly one frame. A caller that never reads more than :attr:`needed` bytes leaves the raw data behind it alone."""

    def __init__(self, kind: object, limit: int) -> None:
        self._frames: framing.FrameDecoder[object] = framing.FrameDecoder(kind, limit)

    @property
    def needed(self) -> int:
        """Bytes that the frame still lacks."""
        return self._frames.needed

    @property
    def rest(self) -> bytes:
        """Raw bytes that were read behind the frame."""
        return self._frames.rest

    def _receive(self, data: bytes) -> object | None:
        if not data:
            raise RemoteProtocolError("truncated", "the stream ended before its first message")
        self._frames.feed(data)
        return self._frames.next()


class OpenReader(_Reader):
    """Server: the first frame of a channel stream."""

    def __init__(self) -> None:
        super().__init__(Open, framing.LIMIT_OPEN)

    def receive(self, data: bytes) -> Open | None:
        """``data`` as read, empty at the end of the stream. Raises RemoteProtocolError."""
        message = self._receive(data)
        return message if isinstance(message, Open) else None


class AnswerReader(_Reader):
    """Client: the server's answer on a channel stream."""

    def __init__(self) -> None:
        super().__init__(ChannelAnswer, framing.LIMIT_BEFORE_AUTH)

    def receive(self, data: bytes) -> Opened | Failed | None:
        """``data`` as read, empty at the end of the stream. Raises RemoteProtocolError."""
        message = self._receive(data)
        return message if isinstance(message, Opened | Failed) else None


class HeaderReader(_Reader):
    """Client: the first frame of a unidirectional stream."""

    def __init__(self) -> None:
        super().__init__(UniHeader, 4 * framing.LIMIT_BEFORE_AUTH)

    def receive(self, data: bytes) -> object | None:
        """HostAuth or StderrHeader. Raises RemoteProtocolError."""
        return self._receive(data)
