"""What a resolver answers (RFC 1035), as far as SRV (RFC 2782) and SVCB (RFC 9460) need them.

Written here because loading dnspython takes as long as a login. What comes is not authenticated, and whoever can send packets to
this machine may try to forge it: everything is bounded, and what is malformed is as good as no answer.
"""

from __future__ import annotations

import re
import struct
from typing import Final, NamedTuple

from qsh.wire.dns_query import SRV

__all__ = ["Reply", "Srv", "Svcb", "parse"]

_A: Final = 1
_CNAME: Final = 5
_AAAA: Final = 28
_IN: Final = 1
_HEADER: Final = struct.Struct(">HHHHHH")
_RECORD: Final = struct.Struct(">HHIH")
_RESPONSE: Final = 0x8000
_TRUNCATED: Final = 0x0200
_CODE: Final = 0x000F
_LABEL_MAX: Final = 63
_NAME_MAX: Final = 253
_POINTER: Final = 0xC0
_RECORDS_MAX: Final = 64
_CHAIN_MAX: Final = 8
_WORD: Final = re.compile(rb"[a-z0-9_-]+\Z")
"""What a label of a host's name may be made of; a target with another is not asked for."""
_MANDATORY, _ALPN, _NO_DEFAULT_ALPN, _PORT, _HINT4, _HINT6 = 0, 1, 2, 3, 4, 6
_KNOWN: Final = frozenset({_MANDATORY, _ALPN, _NO_DEFAULT_ALPN, _PORT, _HINT4, _HINT6})


class _Malformed(ValueError):
    """Not DNS."""


class Srv(NamedTuple):
    """One SRV record."""

    priority: int
    weight: int
    port: int
    target: str


class Svcb(NamedTuple):
    """One SVCB record; with priority 0 an alias. The target "." is the owner."""

    priority: int
    target: str
    alpn: tuple[bytes, ...] = ()
    default_alpn: bool = True
    port: int = 0
    """0: not said."""
    hints: tuple[bytes, ...] = ()
    """Addresses of the target, of 4 and 16 bytes."""
    usable: bool = True
    """Everything that must be understood (``mandatory``) is."""


class Reply(NamedTuple):
    """What an answer holds of what was asked for."""

    records: tuple[Srv | Svcb, ...] = ()
    addresses: tuple[tuple[str, bytes], ...] = ()
    """Names and addresses, of targets."""


def parse(data: bytes) -> Reply:
    """The records, those of an alias (CNAME) included; none where anything about it is wrong."""
    try:
        return _parse(data)
    except (_Malformed, struct.error, IndexError):
        return Reply()


def _parse(data: bytes) -> Reply:
    _, flags, questions, answers, authorities, additional = _HEADER.unpack_from(data)
    if not flags & _RESPONSE or flags & (_TRUNCATED | _CODE) or questions != 1:
        return Reply()
    owner, at = _name(data, _HEADER.size)
    kind, _ = struct.unpack_from(">HH", data, at)
    at += 4
    found: list[tuple[str, Srv | Svcb]] = []
    aliases: dict[str, str] = {}
    addresses: list[tuple[str, bytes]] = []
    for number in range(min(answers + authorities + additional, _RECORDS_MAX)):
        name, at = _name(data, at)
        what, klass, _, size = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        end = at + size
        if end > len(data):
            raise _Malformed
        if klass == _IN and number < answers and what in (kind, _CNAME):
            if what == _CNAME:
                aliases[name] = _name(data, at)[0]
            else:
                found.append((name, _srv(data, at) if kind == SRV else _svcb(data, at, end)))
        elif klass == _IN and number >= answers and (what, size) in ((_A, 4), (_AAAA, 16)):
            addresses.append((name, data[at:end]))
        at = end
    for _ in range(_CHAIN_MAX):
        owner = aliases.get(owner, owner)
    return Reply(tuple(each for name, each in found if name == owner), tuple(addresses))


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name and where it ends; compression leads backwards only, so there is an end to it. The root is ``.``"""
    labels: list[bytes] = []
    size, end, before = 0, 0, at
    while length := data[at]:
        if length & _POINTER == _POINTER:
            end = end or at + 2
            at = (length & ~_POINTER) << 8 | data[at + 1]
            if at >= before:
                raise _Malformed
            before = at
            continue
        label = data[at + 1 : at + 1 + length].lower()
        size += length + 1
        if length > _LABEL_MAX or len(label) < length or size > _NAME_MAX:
            raise _Malformed
        labels.append(label)
        at += 1 + length
    if not all(map(_WORD.match, labels)):
        return "?", end or at + 1
    return b".".join(labels).decode("ascii") or ".", end or at + 1


def _srv(data: bytes, at: int) -> Srv:
    priority, weight, port = struct.unpack_from(">HHH", data, at)
    return Srv(priority, weight, port, _name(data, at + 6)[0])


def _svcb(data: bytes, at: int, end: int) -> Svcb:
    (priority,) = struct.unpack_from(">H", data, at)
    target, at = _name(data, at + 2)
    record = Svcb(priority, target)
    last = -1
    while priority and at < end:
        key, size = struct.unpack_from(">HH", data, at)
        at += 4
        if key <= last or at + size > end:
            raise _Malformed
        record, last = _with_parameter(record, key, data[at : at + size]), key
        at += size
    if at > end:
        raise _Malformed
    return record


def _with_parameter(record: Svcb, key: int, value: bytes) -> Svcb:
    if key == _MANDATORY:
        keys = struct.unpack(f">{len(value) // 2}H", value)
        return record._replace(usable=_KNOWN.issuperset(keys))
    if key == _ALPN:
        return record._replace(alpn=tuple(_strings(value)))
    if key == _NO_DEFAULT_ALPN:
        return record._replace(default_alpn=False)
    if key == _PORT:
        return record._replace(port=struct.unpack(">H", value)[0])
    if key in (_HINT4, _HINT6):
        size = 4 if key == _HINT4 else 16
        if not value or len(value) % size:
            raise _Malformed
        parts = (value[at : at + size] for at in range(0, len(value), size))
        return record._replace(hints=(*record.hints, *parts))
    return record


def _strings(value: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(value):
        size = value[at]
        if not size or at + 1 + size > len(value):
            raise _Malformed
        found.append(value[at + 1 : at + 1 + size])
        at += 1 + size
    return found
