"""A client and a server in one process, with a signing thread that holds real keys."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from qsh.quic import (
    Connection,
    Driver,
    Endpoint,
    SendStream,
    Signer,
    client_endpoint,
    client_socket,
    server_endpoint,
    server_socket,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

ED25519 = 0x0807
P256, P384, P521 = 0x0403, 0x0503, 0x0603
PSS256, PSS384, PSS512 = 0x0804, 0x0805, 0x0806
ALL_SCHEMES = [ED25519, P256, P384, P521, PSS512, PSS256]
HASHES: dict[int, hashes.HashAlgorithm] = {
    P256: hashes.SHA256(),
    P384: hashes.SHA384(),
    P521: hashes.SHA512(),
    PSS256: hashes.SHA256(),
    PSS384: hashes.SHA384(),
    PSS512: hashes.SHA512(),
}


def spki(key: Any) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def sign(key: Any, scheme: int, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    algorithm = HASHES[scheme]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(algorithm))
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(data, padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm)


class SignerThread:
    """The monitor's part: signs what it is asked, or misbehaves."""

    def __init__(self, keys: list[Any], answer: bytes | None = None) -> None:
        self.keys, self.answer = keys, answer
        self.schemes: list[int] = []
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def signer(self, deadline_ms: int = 2000) -> Signer:
        return Signer([spki(k) for k in self.keys], self.theirs.fileno(), deadline_ms)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while self.answer_one(self.ours):
                pass

    def answer_one(self, line: socket.socket) -> bool:
        """Serve one request; False at the end."""
        packet = line.recv(4096)
        if not packet:
            return False
        index, scheme = struct.unpack(">BH", packet[4:7])
        self.schemes.append(scheme)
        tls = sign(self.keys[index], scheme, packet[7:])
        ssh = b"ssh signature"
        answer = struct.pack(">H", len(tls)) + tls + struct.pack(">H", len(ssh)) + ssh
        line.sendall(packet[:4] + (answer if self.answer is None else self.answer))
        return True

    def close(self) -> None:
        self.ours.shutdown(socket.SHUT_RDWR)
        self.theirs.close()
        self.thread.join()
        self.ours.close()


@dataclass
class Pair:
    driver: Driver
    client_end: Endpoint
    server_end: Endpoint
    signing: SignerThread
    host: str = "127.0.0.1"

    @property
    def port(self) -> int:
        return self.server_end.local_address[1]

    def dial(self, *, port: int = 0, **options: Any) -> Coroutine[Any, Any, Connection]:
        chosen: dict[str, Any] = {
            "server_name": "localhost",
            "schemes": ALL_SCHEMES,
            "trusted": [spki(k) for k in self.signing.keys],
            "timeout_s": 5,
            **options,
        }
        return self.client_end.connect(self.host, port or self.port, **chosen)

    async def answer(self) -> Connection:
        incoming = await self.server_end.accept()
        assert incoming is not None
        return await incoming.accept(self.signing.signer())

    async def connect(self, **options: Any) -> tuple[Connection, Connection]:
        client, server = await asyncio.gather(self.dial(**options), self.answer())
        await server.handshake_done()
        return client, server


@contextlib.asynccontextmanager
async def engine_pair(
    *keys: Any,
    answer: bytes | None = None,
    host: str = "127.0.0.1",
    bind: str | None = "127.0.0.1",
    **options: Any,
) -> AsyncIterator[Pair]:
    signing = SignerThread(list(keys) or [ed25519.Ed25519PrivateKey.generate()], answer)
    async with Driver() as driver:
        with client_socket(host) as udp:
            client_end = client_endpoint(driver, udp, **options)
        with server_socket(0, bind) as udp:
            server_end = server_endpoint(driver, udp, **options)
        try:
            yield Pair(driver, client_end, server_end, signing, host)
        finally:
            client_end.close()
            server_end.close()
            signing.close()


async def write_until_error(stream: SendStream) -> None:
    """Until the peer's wish to stop has arrived."""
    while True:
        await stream.write(b"y")
        await asyncio.sleep(0.01)
