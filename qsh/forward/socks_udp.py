"""The header of datagrams of SOCKS 5 (RFC 1928 7), sans-IO."""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

from qsh.errors import RemoteProtocolError

__all__ = ["Header", "host_name", "parse_header"]

_IPV4, _NAME, _IPV6 = 1, 3, 4
_FIXED: Final = 4
"""Bytes before the address: two reserved ones, the fragment's number, the address's type."""
_PORT: Final = 2


class Header(NamedTuple):
    """Where a datagram is to go, and where its payload begins."""

    host: str
    port: int
    length: int


def parse_header(data: bytes) -> Header:
    """Of a datagram, or of its header alone. Raises RemoteProtocolError (``bad-socks``), also for a fragment."""
    if len(data) < _FIXED + 1:
        raise RemoteProtocolError("bad-socks", "a datagram without a header")
    _, _, fragment, kind = data[:_FIXED]
    if fragment:
        raise RemoteProtocolError("bad-socks", "a fragment")
    start, size = _FIXED, {_IPV4: 4, _IPV6: 16}.get(kind, 0)
    if kind == _NAME:
        start, size = _FIXED + 1, data[_FIXED]
    if not size:
        raise RemoteProtocolError("bad-socks", f"address type {kind}, or an empty name")
    end = start + size + _PORT
    if len(data) < end:
        raise RemoteProtocolError("bad-socks", "a header without an end")
    address, port = data[start : start + size], int.from_bytes(data[end - _PORT : end], "big")
    if not port:
        raise RemoteProtocolError("bad-socks", "port 0")
    if kind == _NAME:
        return Header(host_name(address), port, end)
    text = ipaddress.IPv4Address(address) if kind == _IPV4 else ipaddress.IPv6Address(address)
    return Header(str(text), port, end)


def host_name(name: bytes) -> str:
    """A name as it came. Raises RemoteProtocolError if it can be none."""
    try:
        host = name.decode()
    except UnicodeDecodeError:
        host = ""
    if not host or not host.isprintable() or " " in host:
        raise RemoteProtocolError("bad-socks", "not a host name")
    return host
