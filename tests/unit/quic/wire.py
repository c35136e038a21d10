"""What an observer who knows RFC 9001 reads of a handshake: Initial packets, opened with the keys that all can derive."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
PADDING, PING, ACK, CRYPTO = 0, 1, 2, 6
KEY_SHARE = 51
X25519MLKEM768 = 0x11EC


class Side(asyncio.DatagramProtocol):
    """One of the relay's sockets."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.peer: tuple[str, int] | None = None
        self.passes = True
        self.other: Side
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.kept.append(data)
        self.peer = addr
        if self.passes:
            self.other.transport.sendto(data, self.other.peer)


@dataclass
class Relay:
    """Passes datagrams between one client and a server, and keeps them."""

    client: Side
    server: Side

    @property
    def port(self) -> int:
        return int(self.client.transport.get_extra_info("sockname")[1])


@contextlib.asynccontextmanager
async def relay_to(server: tuple[str, int]) -> AsyncIterator[Relay]:
    loop = asyncio.get_running_loop()
    sides = [
        (await loop.create_datagram_endpoint(Side, local_addr=("127.0.0.1", 0)))[1]
        for _ in range(2)
    ]
    near, far = sides
    near.other, far.other, far.peer = far, near, server
    try:
        yield Relay(near, far)
    finally:
        for side in sides:
            side.transport.close()


def varint(data: bytes, at: int) -> tuple[int, int]:
    size = 1 << (data[at] >> 6)
    value = int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
    return value, at + size


def expand(secret: bytes, label: str, size: int) -> bytes:
    name = b"tls13 " + label.encode()
    info = struct.pack(">HB", size, len(name)) + name + b"\0"
    return HKDFExpand(hashes.SHA256(), size, info).derive(secret)


class Opener:
    """The Initial keys of one side."""

    def __init__(self, first_id: bytes, label: str) -> None:
        extract = hmac.HMAC(SALT, hashes.SHA256())
        extract.update(first_id)
        secret = expand(extract.finalize(), label, 32)
        self.key = expand(secret, "quic key", 16)
        self.iv = expand(secret, "quic iv", 12)
        self.mask = Cipher(algorithms.AES(expand(secret, "quic hp", 16)), modes.ECB())

    def payloads(self, datagrams: list[bytes]) -> Iterator[bytes]:
        for datagram in datagrams:
            at = 0
            # A long header of the type Initial; RFC 9287 greases the bit between.
            while at < len(datagram) and datagram[at] & 0xB0 == 0x80:
                packet = datagram[at:]
                number_at, end = layout(packet)
                yield self.open(packet[:end], number_at)
                at += end

    def open(self, packet: bytes, at: int) -> bytes:
        mask = self.mask.encryptor().update(packet[at + 4 : at + 20])
        first = packet[0] ^ (mask[0] & 0x0F)
        size = (first & 3) + 1
        number = bytes(a ^ b for a, b in zip(packet[at : at + size], mask[1:], strict=False))
        header = bytes([first]) + packet[1:at] + number
        nonce = int.from_bytes(self.iv, "big") ^ int.from_bytes(number, "big")
        return AESGCM(self.key).decrypt(nonce.to_bytes(12, "big"), packet[at + size :], header)


def layout(packet: bytes) -> tuple[int, int]:
    """Where the packet number starts and the packet ends."""
    at = 6 + packet[5]
    at += 1 + packet[at]
    token, at = varint(packet, at)
    size, at = varint(packet, at + token)
    return at, at + size


def crypto(payloads: Iterator[bytes]) -> bytes:
    """The TLS messages: CRYPTO frames in order."""
    pieces: dict[int, bytes] = {}
    for data in payloads:
        at = 0
        while at < len(data):
            kind = data[at]
            at += 1
            if kind == ACK:
                _, at = varint(data, at)
                _, at = varint(data, at)
                ranges, at = varint(data, at)
                for _ in range(2 * ranges + 1):
                    _, at = varint(data, at)
            elif kind == CRYPTO:
                offset, at = varint(data, at)
                size, at = varint(data, at)
                pieces[offset] = data[at : at + size]
                at += size
            else:
                assert kind in (PADDING, PING), kind
    whole = b""
    for offset in sorted(pieces):
        whole = whole[:offset] + pieces[offset]
    return whole


def server_share(relay: Relay) -> tuple[int, int]:
    """The group and the size of the key share in ServerHello."""
    first = relay.client.kept[0]
    opener = Opener(first[6 : 6 + first[5]], "server in")
    hello = crypto(opener.payloads(relay.server.kept))
    assert hello[0] == 2  # ServerHello
    at = 4 + 2 + 32
    at += 1 + hello[at] + 2 + 1  # session id, cipher suite, compression
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at < end:
        kind, size = struct.unpack_from(">HH", hello, at)
        if kind == KEY_SHARE:
            group, share = struct.unpack_from(">HH", hello, at + 4)
            return group, share
        at += 4 + size
    raise AssertionError("no key share")
