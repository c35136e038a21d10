"""What the Linux kernel tells of addresses, routes and links (rtnetlink(7)): its messages, without a socket.

Only what is asked here is read: is this news, and which interfaces lead everywhere?
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GROUPS", "DefaultRoute", "default_routes", "is_news", "routes_request"]

GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE."""

_HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, bits of destination and source, TOS, table, protocol, scope, type, flags."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_NUMBER: Final = struct.Struct("=I")
_NEWLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE, _GETROUTE = 16, 20, 21, 24, 25, 26
_DONE: Final = 3
_NEWS: Final = frozenset({_NEWLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE})
_REQUEST_DUMP: Final = 0x1 | 0x300
_CLONED: Final = 0x200
"""A cached route: it comes of packets, not of the network."""
_UNICAST: Final = 1
_OIF, _PRIORITY = 4, 6
_ALIGNMENT: Final = 4


class DefaultRoute(NamedTuple):
    """One that leads everywhere."""

    family: int
    interface: int
    priority: int
    """The lowest one is used."""


def is_news(data: bytes) -> bool:
    """Whether a datagram of the kernel's tells of a change that may be one of the way to a host."""
    for kind, body in _messages(data):
        if kind in (_NEWROUTE, _DELROUTE):
            if len(body) >= _ROUTE.size and not _ROUTE.unpack_from(body)[8] & _CLONED:
                return True
        elif kind in _NEWS:
            return True
    return False


def routes_request(family: int) -> bytes:
    """Asks for all routes of a family."""
    body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    return _HEADER.pack(_HEADER.size + len(body), _GETROUTE, _REQUEST_DUMP, 1, 0) + body


def default_routes(data: bytes) -> tuple[list[DefaultRoute], bool]:
    """Those in a datagram of the answer, and whether it was the last one."""
    found: list[DefaultRoute] = []
    over = False
    for kind, body in _messages(data):
        if kind != _NEWROUTE:
            over = over or kind <= _DONE
        elif len(body) >= _ROUTE.size:
            family, bits, _, _, _, _, _, type_, flags = _ROUTE.unpack_from(body)
            numbers = dict(_numbers(body[_ROUTE.size :]))
            if bits == 0 and type_ == _UNICAST and not flags & _CLONED and _OIF in numbers:
                found.append(DefaultRoute(family, numbers[_OIF], numbers.get(_PRIORITY, 0)))
    return found, over


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each that is whole."""
    at = 0
    while len(data) - at >= _HEADER.size:
        size, kind, *_ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= size <= len(data) - at:
            return
        yield kind, data[at + _HEADER.size : at + size]
        at += _aligned(size)


def _numbers(data: bytes) -> Iterator[tuple[int, int]]:
    """The attributes that are numbers of 32 bits."""
    at = 0
    while len(data) - at >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= size <= len(data) - at:
            return
        if size == _ATTRIBUTE.size + _NUMBER.size:
            yield kind, _NUMBER.unpack_from(data, at + _ATTRIBUTE.size)[0]
        at += _aligned(size)


def _aligned(size: int) -> int:
    return (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
