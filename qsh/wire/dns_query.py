"""Questions to a DNS resolver, and whether what comes answers them. Every start of the client loads this, dns.py only
when there is something to parse.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["SRV", "SVCB", "has_records", "is_reply", "query"]

SRV: Final = 33
SVCB: Final = 64
_LABEL_MAX: Final = 63
_NAME_MAX: Final = 253
_HEADER: Final = b"\x01\0\0\1\0\0\0\0\0\1"
"""Recursion, please; one question and one more record."""
_IN: Final = b"\0\1"
_OPT: Final = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
"""EDNS: how large (1,232 bytes) an answer may be: what gets through everywhere (DNS flag day 2020)."""


def query(ident: int, name: str, kind: int) -> bytes:
    """Raises ValueError: that is no name."""
    labels = name.lower().encode("ascii").split(b".")
    if not all(0 < len(each) <= _LABEL_MAX for each in labels):
        raise ValueError(name)
    coded = b"".join(bytes((len(each),)) + each for each in labels)
    if len(coded) > _NAME_MAX:
        raise ValueError(name)
    return ident.to_bytes(2, "big") + _HEADER + coded + b"\0" + kind.to_bytes(2, "big") + _IN + _OPT


def is_reply(data: bytes, asked: bytes) -> bool:
    """Whether this answers that question, whatever it says."""
    end = len(asked) - len(_OPT)
    return (
        len(data) >= end
        and data[:2] == asked[:2]
        and data[2] & 0x80 != 0
        and data[4:6] == asked[4:6]
        and data[12:end].lower() == asked[12:end]
    )


def has_records(data: bytes) -> bool:
    """Whether a reply is worth parsing."""
    return data[6:8] != b"\0\0" and not data[3] & 0x0F
