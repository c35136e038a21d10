"""The server's side of SOCKS 4, 4a (CONNECT) and 5 (RFC 1928, CONNECT and UDP ASSOCIATE without authentication), sans-IO.

A caller that never reads more than :attr:`Negotiation.needed` bytes leaves the data behind the request alone.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from qsh.errors import RemoteProtocolError
from qsh.forward.socks_udp import host_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Negotiation"]

CONNECT: Final = 1
UDP_ASSOCIATE: Final = 3
MAX_NAME: Final = 255
"""Bytes of a user or host name of SOCKS 4, which has no limit of its own; 5 counts them in one byte."""

_IPV4, _NAME, _IPV6 = 1, 3, 4
_NO_METHOD: Final = b"\x05\xff"
_GRANTED_4, _REJECTED_4 = 0x5A, 0x5B
_FAILED, _NOT_ALLOWED, _NET_UNREACHABLE, _HOST_UNREACHABLE, _REFUSED = 1, 2, 3, 4, 5
_NO_COMMAND, _NO_ADDRESS_TYPE = 7, 8

_REPLIES: Final = {
    "ECONNREFUSED": _REFUSED,
    "ENETUNREACH": _NET_UNREACHABLE,
    "EHOSTUNREACH": _HOST_UNREACHABLE,
    "ETIMEDOUT": _HOST_UNREACHABLE,
    "EAI_NONAME": _HOST_UNREACHABLE,
    "EAI_AGAIN": _HOST_UNREACHABLE,
}


class Negotiation:
    """Bytes in, answers out, until :attr:`target` is there."""

    def __init__(self, *, datagrams: bool = False) -> None:
        """``datagrams``: UDP ASSOCIATE may be had."""
        self._datagrams = datagrams
        self.associate = False
        """It is asked for: ``target`` is then where the peer will send from, as far as it knows."""
        self.needed = 1
        """Bytes to be read next, at most; 0 when the request is complete."""
        self.target: tuple[str, int] | None = None
        """Host and port that the peer wants to be connected with."""
        self.refusal = b""
        """What the peer is to get before the end, when :meth:`receive` has raised."""
        self.version = 0
        self._port = 0
        self._data = bytearray()
        self._step: Callable[[bytes], bytes] = self._begin

    def receive(self, data: bytes) -> bytes:
        """What is to be answered at once. Raises RemoteProtocolError (``bad-socks``), also at the end (empty ``data``)."""
        if not data:
            raise RemoteProtocolError("bad-socks", "the end, in the middle of it")
        answer = b""
        self._data += data
        while 0 < self.needed <= len(self._data):
            taken = bytes(self._data[: self.needed])
            del self._data[: self.needed]
            answer += self._step(taken)
        return answer

    @property
    def rest(self) -> bytes:
        """What was read behind the request."""
        return bytes(self._data)

    def granted(self) -> bytes:
        """The answer when the connection is there."""
        if self.version == 4:
            return bytes((0, _GRANTED_4, 0, 0, 0, 0, 0, 0))
        return bytes((5, 0, 0, _IPV4, 0, 0, 0, 0, 0, 0))

    def associated(self, host: str, port: int) -> bytes:
        """The answer when datagrams may be sent to this address."""
        address = ipaddress.ip_address(host)
        kind = _IPV4 if address.version == 4 else _IPV6
        return bytes((5, 0, 0, kind)) + address.packed + port.to_bytes(2, "big")

    def refused(self, code: str, detail: str) -> bytes:
        """The answer when it cannot be had: ``code`` and ``detail`` of OPEN-FAILED."""
        reply = _NOT_ALLOWED if code == "not-permitted" else _REPLIES.get(detail, _FAILED)
        return self._no(reply)

    def _no(self, reply: int) -> bytes:
        if self.version == 4:
            return bytes((0, _REJECTED_4, 0, 0, 0, 0, 0, 0))
        return bytes((5, reply, 0, _IPV4, 0, 0, 0, 0, 0, 0))

    def _fail(self, text: str, refusal: bytes = b"") -> RemoteProtocolError:
        self.refusal, self.needed = refusal, 0
        return RemoteProtocolError("bad-socks", text)

    def _then(self, needed: int, step: Callable[[bytes], bytes]) -> bytes:
        self.needed, self._step = needed, step
        return b""

    def _done(self, host: str) -> bytes:
        self.target, self.needed = (host, self._port), 0
        return b""

    def _name(self, name: bytes) -> bytes:
        try:
            return self._done(host_name(name))
        except RemoteProtocolError:
            raise self._fail("not a host name", self._no(_FAILED)) from None

    def _begin(self, data: bytes) -> bytes:
        self.version = data[0]
        if self.version == 4:
            return self._then(7, self._request_4)
        if self.version == 5:
            return self._then(1, lambda count: self._then(count[0] or 1, self._methods_5))
        raise self._fail(f"version {self.version}")

    # -- 4 and 4a

    def _request_4(self, data: bytes) -> bytes:
        if data[0] != CONNECT:
            raise self._fail(f"command {data[0]}", self._no(_FAILED))
        self._port = int.from_bytes(data[1:3], "big")
        address = data[3:7]
        named = address[:3] == bytes(3) and address[3] != 0
        text = str(ipaddress.IPv4Address(address))
        return self._text_4(lambda _: self._text_4(self._name) if named else self._done(text))

    def _text_4(self, then: Callable[[bytes], bytes]) -> bytes:
        """A text up to its NUL, byte by byte: where it ends is not known before."""
        found = bytearray()

        def step(data: bytes) -> bytes:
            if data == b"\0":
                return then(bytes(found))
            found.extend(data)
            if len(found) > MAX_NAME:
                raise self._fail("a name without an end", self._no(_FAILED))
            return b""

        return self._then(1, step)

    # -- 5

    def _methods_5(self, methods: bytes) -> bytes:
        if 0 not in methods:
            raise self._fail("authentication wanted", _NO_METHOD)
        self._then(4, self._request_5)
        return b"\x05\x00"

    def _request_5(self, data: bytes) -> bytes:
        version, command, _, kind = data
        if version != 5:
            raise self._fail(f"version {version} in a request", self._no(_FAILED))
        self.associate = command == UDP_ASSOCIATE and self._datagrams
        if command != CONNECT and not self.associate:
            raise self._fail(f"command {command}", self._no(_NO_COMMAND))
        if kind == _IPV4:
            return self._then(4, lambda data: self._port_5(str(ipaddress.IPv4Address(data))))
        if kind == _IPV6:
            return self._then(16, lambda data: self._port_5(str(ipaddress.IPv6Address(data))))
        if kind == _NAME:
            return self._then(1, self._length_5)
        raise self._fail(f"address type {kind}", self._no(_NO_ADDRESS_TYPE))

    def _length_5(self, data: bytes) -> bytes:
        if data[0] == 0:
            raise self._fail("an empty name", self._no(_FAILED))
        return self._then(data[0], self._port_5)

    def _port_5(self, host: str | bytes) -> bytes:
        def step(data: bytes) -> bytes:
            self._port = int.from_bytes(data, "big")
            return self._done(host) if isinstance(host, str) else self._name(host)

        return self._then(2, step)
