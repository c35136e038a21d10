"""Packets that a client with bad manners would send: sealed with a real connection's keys (RFC 9001 5), any frames inside."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "ID_BYTES",
    "Forger",
    "new_connection_id",
    "path_challenge",
    "retire_connection_id",
    "varint",
]

ID_BYTES: Final = 8
"""Of the connection ids that qshd gives out."""
LABEL: Final = "CLIENT_TRAFFIC_SECRET_0"
SAMPLE: Final = 16


def varint(value: int) -> bytes:
    """RFC 9000 16."""
    for size, (code, mark) in {1: (">B", 0), 2: (">H", 1), 4: (">L", 2), 8: (">Q", 3)}.items():
        if value < 1 << (8 * size - 2):
            return struct.pack(code, value | mark << (8 * size - 2))
    raise ValueError(value)


def path_challenge(data: bytes) -> bytes:
    """RFC 9000 19.17."""
    return b"\x1a" + data


def retire_connection_id(sequence: int) -> bytes:
    """RFC 9000 19.16."""
    return b"\x19" + varint(sequence)


def new_connection_id(sequence: int, prior: int, name: bytes) -> bytes:
    """RFC 9000 19.15."""
    return (
        b"\x18" + varint(sequence) + varint(prior) + bytes([len(name)]) + name + name.ljust(16)[:16]
    )


class Forger:
    """Of the client whose key log this is, and which the server knows by ``name``. Packet numbers begin far above its own."""

    def __init__(self, key_log: Path, name: bytes, number: int = 1 << 20) -> None:
        secret = next(
            bytes.fromhex(line.split()[2])
            for line in key_log.read_text().splitlines()
            if line.startswith(LABEL)
        )
        sha384 = (
            len(secret) == 48
        )  # with AES-256; what else there is has another length of the key, which is of no use here
        self._hash = hashes.SHA384() if sha384 else hashes.SHA256()
        size = 32 if sha384 else 16
        self._aead = AESGCM(self._expand(secret, "quic key", size))
        self._iv = int.from_bytes(self._expand(secret, "quic iv", 12), "big")
        mask = algorithms.AES(self._expand(secret, "quic hp", size))
        self._mask = Cipher(mask, modes.ECB()).encryptor()
        self._name, self._number = name, number

    def _expand(self, secret: bytes, label: str, size: int) -> bytes:
        name = b"tls13 " + label.encode()
        info = struct.pack(">HB", size, len(name)) + name + b"\0"
        return HKDFExpand(self._hash, size, info).derive(secret)

    def packet(self, *frames: bytes) -> bytes:
        """The next one, in a short header."""
        number = self._number.to_bytes(4, "big")
        header = b"\x43" + self._name + number
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        sealed = self._aead.encrypt(nonce, b"".join(frames), header)
        mask = self._mask.update(sealed[:SAMPLE])
        hidden = bytes(a ^ b for a, b in zip(number, mask[1:], strict=False))
        return bytes([header[0] ^ (mask[0] & 0x1F)]) + self._name + hidden + sealed
