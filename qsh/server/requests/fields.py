"""What all messages between processes are made of."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from qsh.wire.messages import MAX_BLOB

__all__ = [
    "MAX_PACKET",
    "Address",
    "Blob",
    "Channel",
    "Count",
    "Listener",
    "Local",
    "Number",
    "SessionId",
    "Text",
    "encode",
]

MAX_PACKET: Final = 320 * 1024
"""Bytes of one packet; a session pair's buffers must hold it."""

Blob = Annotated[bytes, Meta(max_length=MAX_BLOB)]
SessionId = Annotated[bytes, Meta(min_length=46, max_length=46)]
Address = tuple[Annotated[str, Meta(max_length=64)], Annotated[int, Meta(ge=0, le=65535)]]
Channel = Annotated[int, Meta(ge=0, le=2**62)]
Listener = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=0xFFFF)]
Number = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=16 * 1024)]


class Local(Struct, frozen=True, tag_field="t", omit_defaults=True):
    """Base of all local messages."""


encode = msgspec.msgpack.Encoder().encode
