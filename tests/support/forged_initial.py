"""A client's first packets, taken apart and made anew with other contents: their keys are known to everybody (RFC 9001 5.2)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.support.forged import varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Hello", "Initial", "crypto", "hello_of", "pieces"]

SALT: Final = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
SMALLEST: Final = 1200
"""A first datagram that is smaller is not even looked at."""
TAG: Final = 16
PARAMETERS: Final = 0x39
"""The extension with QUIC's transport parameters."""
CRYPTO: Final = 6


def _label(secret: bytes, label: str, size: int) -> bytes:
    name = b"tls13 " + label.encode()
    info = struct.pack(">HB", size, len(name)) + name + b"\0"
    return HKDFExpand(hashes.SHA256(), size, info).derive(secret)


class Initial:
    """Seals and opens a client's Initial packets to ``destination``, the id that it has made up for the server; or, with
    ``answers``, which is that id, the server's to the client's ``destination``.
    """

    def __init__(self, destination: bytes, source: bytes, answers: bytes = b"") -> None:
        self.destination, self.source, self.number = destination, source, 0
        extract = hmac.HMAC(SALT, hashes.SHA256())
        extract.update(answers or destination)
        secret = _label(extract.finalize(), "server in" if answers else "client in", 32)
        self._aead = AESGCM(_label(secret, "quic key", 16))
        self._iv = int.from_bytes(_label(secret, "quic iv", 12), "big")
        mask = algorithms.AES(_label(secret, "quic hp", 16))
        self._mask = Cipher(mask, modes.ECB()).encryptor()

    def packet(self, *frames: bytes, token: bytes = b"", size: int = SMALLEST) -> bytes:
        """The next one, padded to ``size`` bytes at least."""
        head = b"\xc3\0\0\0\1" + _short(self.destination) + _short(self.source)
        head += varint(len(token)) + token
        body = b"".join(frames)
        body += bytes(max(size - len(head) - 6 - TAG - len(body), 4))
        number = self.number.to_bytes(4, "big")
        head += struct.pack(">H", 0x4000 | len(number) + len(body) + TAG) + number
        nonce = (self._iv ^ self.number).to_bytes(12, "big")
        self.number += 1
        sealed = self._aead.encrypt(nonce, body, head)
        mask = self._mask.update(sealed[:16])
        hidden = bytes(a ^ b for a, b in zip(number, mask[1:], strict=False))
        return bytes([head[0] ^ (mask[0] & 0x0F)]) + head[1:-4] + hidden + sealed

    def opened(self, packet: bytes, number_at: int) -> bytes:
        """The frames of a packet whose number begins there."""
        mask = self._mask.update(packet[number_at + 4 : number_at + 20])
        first = packet[0] ^ (mask[0] & 0x0F)
        size = (first & 3) + 1
        number = bytes(
            a ^ b for a, b in zip(packet[number_at : number_at + size], mask[1:], strict=False)
        )
        head = bytes([first]) + packet[1:number_at] + number
        nonce = (self._iv ^ int.from_bytes(number, "big")).to_bytes(12, "big")
        return self._aead.decrypt(nonce, packet[number_at + size :], head)


def _short(name: bytes) -> bytes:
    return bytes([len(name)]) + name


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    """The value, and where it ends."""
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def crypto(offset: int, data: bytes) -> bytes:
    """RFC 9000 19.6."""
    return bytes([CRYPTO]) + varint(offset) + varint(len(data)) + data


def pieces(data: bytes, size: int) -> list[bytes]:
    """CRYPTO frames that carry ``data``, ``size`` bytes each."""
    return [crypto(at, data[at : at + size]) for at in range(0, len(data), size)]


@dataclass(frozen=True, slots=True)
class Hello:
    """A ClientHello; ``source`` is the id that its transport parameters name."""

    data: bytes
    source: bytes

    def begin(self) -> Initial:
        """Of another connection."""
        return Initial(os.urandom(8), self.source)

    def begin_again(self, name: bytes) -> Initial:
        """After a Retry, to the id that the server gave itself there."""
        return Initial(name, self.source)

    def flight(self, initial: Initial | None = None, token: bytes = b"") -> list[bytes]:
        """Datagrams with all of it."""
        initial = initial or self.begin()
        return [initial.packet(each, token=token) for each in pieces(self.data, 1000)]

    @property
    def parameters(self) -> bytes:
        """The transport parameters, undecoded."""
        start, end = self._parameters_at()
        return self.data[start:end]

    def with_parameters(self, found: bytes) -> Hello:
        """The same with others."""
        start, end = self._parameters_at()
        grown = len(found) - (end - start)
        data = bytearray(self.data[: start - 2])
        data += struct.pack(">H", len(found)) + found + self.data[end:]
        data[1:4] = (len(data) - 4).to_bytes(3, "big")
        at = self._extensions_at()
        data[at : at + 2] = (int.from_bytes(self.data[at : at + 2], "big") + grown).to_bytes(
            2, "big"
        )
        return replace(self, data=bytes(data))

    def _extensions_at(self) -> int:
        at = 4 + 2 + 32
        at += 1 + self.data[at]  # session id
        at += 2 + int.from_bytes(self.data[at : at + 2], "big")  # cipher suites
        return at + 1 + self.data[at]  # compression

    def _parameters_at(self) -> tuple[int, int]:
        at = self._extensions_at() + 2
        while at < len(self.data):
            kind, size = struct.unpack_from(">HH", self.data, at)
            at += 4 + size
            if kind == PARAMETERS:
                return at - size, at
        raise ValueError("no transport parameters")


def hello_of(datagrams: Iterable[bytes]) -> Hello | None:
    """What a client's first datagrams carry together; None: not all of it is there."""
    found: dict[int, bytes] = {}
    source = b""
    for datagram in datagrams:
        destination = datagram[6 : 6 + datagram[5]]
        at = 6 + datagram[5]
        source = datagram[at + 1 : at + 1 + datagram[at]]
        token, at = _varint_at(datagram, at + 1 + datagram[at])
        size, at = _varint_at(datagram, at + token)
        found |= dict(_crypto_in(Initial(destination, source).opened(datagram[: at + size], at)))
    data = b""
    while (piece := found.pop(len(data), None)) is not None:
        data += piece
    whole = len(data) >= 4 and len(data) == 4 + int.from_bytes(data[1:4], "big")
    return Hello(data, source) if whole else None


def _crypto_in(frames: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(frames):
        kind, at = frames[at], at + 1
        if kind == CRYPTO:
            offset, at = _varint_at(frames, at)
            size, at = _varint_at(frames, at)
            yield offset, frames[at : at + size]
            at += size
