"""Invariant: whatever comes to a server's port, by UDP or in a stream, the engine goes on: it answers the next packet, nothing
in it panics, and its memory is bounded.

The first byte says what becomes of connections that begin, the second what the rest is: datagrams, frames of an Initial packet, a
ClientHello or its transport parameters, a token, the bytes of a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qsh.errors import TransportError
from qsh.quic import Driver, client_endpoint, client_socket, server_endpoint
from tests.support.forged_initial import Initial, hello_of, pieces
from tests.unit.quic.engine import SignerThread

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from qsh.quic import Incoming
    from tests.support.forged_initial import Hello

__all__ = ["fuzz_one"]

GREETING: Final = b"qsh/1 packets\r\n\r\n"
PROBE: Final = b"\xc0\x1a\x2a\x3a\x4a\x08" + b"probing?" + b"\x08" + b"who asks" + bytes(1200)
"""Of a version that there is not: it is answered whatever else goes on."""
PATIENCE_S: Final = 10.0
GROWTH: Final = 256 << 20
HELLO_S: Final = 0.3
"""How long a handshake may take: so many are kept at a time."""
PARAMETERS: Final = bytes.fromhex(
    "01048000ea60030245c00504800100000604800100000704800100000802406409024064"
)
"""An idle time, a payload's size, windows and numbers of streams."""
SEEDS = (
    b"\0\0" + PROBE,
    b"\0\0\xc0\0\0\0\1\x08" + bytes(8) + b"\0\0\x44\x00" + bytes(1200),
    b"\0\1\x06\0\x04abcd\x01\x00\x02\0\0\0\0\x1c\0\0\0",
    b"\0\2\1\0\0\x28\3\3" + bytes(32) + b"\0\0\2\x13\1\1\0\0\0",
    b"\0\3" + PARAMETERS,
    b"\0\3" + PARAMETERS + b"\x0b\x01\x19\x0e\x01\x02\x20\x04\x80\0\xff\xff",
    b"\1\3" + PARAMETERS,
    b"\0\4" + bytes(40),
    b"\2\4" + bytes(range(90)),
    b"\0\5" + GREETING + struct.pack(">H", len(PROBE)) + PROBE,
    b"\0\6" + struct.pack(">H", 40) + bytes(40) + b"\0\0",
    b"\0\6" + struct.pack(">H", 1200) + PROBE[:1200] * 3,
)


class _Engine:
    """A server, and a socket that asks whether it still answers."""

    def __init__(self) -> None:
        self._told = os.memfd_create("stderr")
        saved = os.dup(2)  # Python's own words go where they went; what panics says so by itself
        os.dup2(self._told, 2)
        sys.stderr = os.fdopen(saved, "w", buffering=1)
        self._loop = asyncio.new_event_loop()
        self.signing = SignerThread([Ed25519PrivateKey.generate()])
        self.signer = self.signing.signer()
        self._tasks: set[asyncio.Task[None]] = set()
        self._decision = 0
        self._asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._asking.setblocking(False)
        self.run(self._start())
        self._control()
        self._memory = _memory()
        self._count = 0

    def _control(self) -> None:
        """A good hello gets as far as the signature, or nothing else that is sent here means anything."""
        datagrams, _ = _parts(self.hello, 3, PARAMETERS)
        self.run(self.feed(0, datagrams, None))
        for _ in range(1000):
            if self.signing.schemes:
                return
            self.run(self.feed(0, [], None))
        raise AssertionError("a good hello is not answered")

    def run(self, story: Coroutine[None, None, None]) -> None:
        self._loop.run_until_complete(asyncio.wait_for(story, PATIENCE_S))

    async def _start(self) -> None:
        self._driver = Driver()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", 0))
            self.endpoint = server_endpoint(
                self._driver, udp, bidi_streams=8, uni_streams=0, handshake_s=HELLO_S, streams=True
            )
        self.address = ("127.0.0.1", self.endpoint.local_address[1])
        self._asking.connect(self.address)
        self.hello = await self._first_hello()
        self._spawn(self._accept())

    async def _first_hello(self) -> Hello:
        flight: list[bytes] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
            sink.bind(("127.0.0.1", 0))
            sink.setblocking(False)
            with client_socket("127.0.0.1") as udp:
                endpoint = client_endpoint(self._driver, udp)
            dialing = asyncio.ensure_future(
                endpoint.connect(
                    *sink.getsockname(), server_name="localhost", schemes=[0x0807], trusted=[]
                )
            )
            while (found := hello_of(flight)) is None:
                flight.append(await self._loop.sock_recv(sink, 65536))
            dialing.cancel()
            endpoint.close()
        return found

    def _spawn(self, story: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(story)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while (incoming := await self.endpoint.accept()) is not None:
            kind = self._decision % 4
            if kind == 0:
                self._spawn(self._serve(incoming))
            elif kind == 1:
                if not incoming.retry():
                    incoming.refuse()
            elif kind == 2:
                incoming.refuse()
            else:
                incoming.ignore()

    async def _serve(self, incoming: Incoming) -> None:
        with contextlib.suppress(TransportError):
            await incoming.accept(self.signer)

    async def feed(self, decision: int, datagrams: list[bytes], stream: bytes | None) -> None:
        self._decision = decision
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(self.address)
            for datagram in datagrams[:64]:
                with contextlib.suppress(OSError):  # too large, or refused before
                    udp.send(datagram)
        if stream is not None:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                end = self.endpoint.add_stream(theirs.fileno(), ("127.0.0.1", 9))
                ours.sendall(stream[:100_000])
                ours.shutdown(socket.SHUT_WR)
                await end
        await self._loop.sock_sendall(self._asking, PROBE)
        assert (await self._loop.sock_recv(self._asking, 65536))[1:5] == bytes(4)

    def check(self) -> None:
        """What must hold after each input; memory now and then."""
        if size := os.lseek(self._told, 0, os.SEEK_END):
            raise AssertionError(os.pread(self._told, size, 0).decode(errors="replace"))
        self._count += 1
        if self._count % 500 == 0:
            assert _memory() - self._memory < GROWTH


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _engine() -> _Engine:
    """One for all inputs of a process."""
    return _Engine()


def fuzz_one(data: bytes) -> None:
    """One input."""
    engine = _engine()
    decision, kind = (data + b"\0\0")[:2]
    datagrams, stream = _parts(engine.hello, kind % 7, data[2:])
    engine.run(engine.feed(decision, datagrams, stream))
    engine.check()


def _parts(hello: Hello, kind: int, data: bytes) -> tuple[list[bytes], bytes | None]:
    """Datagrams, and what goes into a stream."""
    if kind == 0:
        return [data], None
    if kind == 1:
        return [hello.begin().packet(data[:60_000])], None
    if kind == 2:
        initial = Initial(os.urandom(8), hello.source)
        return [initial.packet(each) for each in pieces(data, 1000)], None
    if kind == 3:
        source = b"\x0f" + bytes([len(hello.source)]) + hello.source
        return hello.with_parameters(data[:60_000] + source).flight(), None
    if kind == 4:
        return hello.flight(token=data[:1000]), None
    return [], data if kind == 5 else GREETING + data
