"""Frames: a 32-bit big-endian length and one MessagePack message (docs/protocol.md 2)."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from qsh.errors import LocalProtocolError, RemoteProtocolError
from qsh.wire.messages import Message, encode_payload

__all__ = ["LIMIT_BEFORE_AUTH", "LIMIT_OPEN", "FrameDecoder", "encode"]

LIMIT_BEFORE_AUTH: Final = 64 * 1024
"""Bytes of a message before authentication: 64 offers of ordinary keys, or two of the largest certificates."""
LIMIT_OPEN: Final = 256 * 1024
"""Bytes of a message after it: the longest command line and an ample environment."""

_HEADER: Final = 4

M = TypeVar("M")


def encode(message: Message) -> bytes:
    """One frame."""
    payload = encode_payload(message)
    if len(payload) > LIMIT_OPEN:
        raise LocalProtocolError(
            "message-too-large", f"{type(message).__name__} of {len(payload)} bytes"
        )
    return len(payload).to_bytes(_HEADER, "big") + payload


class FrameDecoder(Generic[M]):
    """Bytes in, messages of the union ``kind`` out.

    Raises RemoteProtocolError: ``message-too-large``, ``unknown-message``, ``bad-message``. After an error the decoder
    must not be fed again. Bytes after the last complete frame wait in :attr:`rest`.
    """

    def __init__(self, kind: Any, limit: int = LIMIT_BEFORE_AUTH) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._buffer = bytearray()
        self.limit = limit

    @property
    def needed(self) -> int:
        """Bytes that the next frame still lacks, as far as its header tells; 0 when it is whole (or too large)."""
        have = len(self._buffer)
        if have < _HEADER:
            return _HEADER - have
        size = int.from_bytes(self._buffer[:_HEADER], "big")
        return max(0, _HEADER + size - have) if size <= self.limit else 0

    @property
    def rest(self) -> bytes:
        """What has arrived behind the last frame taken."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add received bytes. Never raises."""
        self._buffer += data

    def next(self) -> M | None:
        """The next whole message, or None when more bytes are needed."""
        if len(self._buffer) < _HEADER:
            return None
        size = int.from_bytes(self._buffer[:_HEADER], "big")
        if size > self.limit:
            raise RemoteProtocolError("message-too-large", f"{size} bytes, {self.limit} allowed")
        end = _HEADER + size
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEADER:end])
        del self._buffer[:end]
        try:
            message: M = self._decode(payload)
        except msgspec.ValidationError as error:
            code = (
                "unknown-message"
                if "Invalid value" in str(error) and "$.t" in str(error)
                else "bad-message"
            )
            raise RemoteProtocolError(code, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RemoteProtocolError("bad-message", str(error)) from None
        return message
