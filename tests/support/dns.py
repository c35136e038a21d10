"""DNS messages, as a resolver makes them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from qsh.wire.dns_query import SRV, SVCB

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Record", "name", "reply", "srv", "svcb", "svcb_value"]

Record = tuple[bytes, int, bytes]
"""Owner (coded), type, value."""
OPT = 11
"""Bytes of the record behind a question."""


def name(text: str) -> bytes:
    labels = [label for label in text.encode().split(b".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def reply(
    asked: bytes,
    answers: Iterable[Record] = (),
    additional: Iterable[Record] = (),
    *,
    flags: int = 0x8180,
) -> bytes:
    answers, additional = list(answers), list(additional)
    head = asked[:2] + struct.pack(">HHHHH", flags, 1, len(answers), 0, len(additional))
    records = b"".join(
        owner + struct.pack(">HHIH", kind, 1, 60, len(value)) + value
        for owner, kind, value in (*answers, *additional)
    )
    return head + asked[12:-OPT] + records


def srv(
    target: str, port: int, priority: int = 0, weight: int = 0, owner: bytes = b"\xc0\x0c"
) -> Record:
    """Of the name that was asked for."""
    return owner, SRV, struct.pack(">HHH", priority, weight, port) + name(target)


def svcb_value(priority: int, target: str, parameters: Iterable[tuple[int, bytes]] = ()) -> bytes:
    coded = b"".join(struct.pack(">HH", key, len(value)) + value for key, value in parameters)
    return struct.pack(">H", priority) + name(target) + coded


def svcb(priority: int, target: str, parameters: Iterable[tuple[int, bytes]] = ()) -> Record:
    return b"\xc0\x0c", SVCB, svcb_value(priority, target, parameters)
