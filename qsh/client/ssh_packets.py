"""QUIC packets through an SSH channel: an endpoint on loopback, and two tasks that carry its packets (docs/protocol.md 15.6)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from qsh.quic import client_endpoint, client_socket
from qsh.wire.packet_frames import MAX_PACKET, PacketReader, frame

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from qsh.client.tuning import Tuning
    from qsh.quic import Driver, Endpoint

__all__ = ["LOOPBACK", "SshPackets"]

LOOPBACK: Final = "127.0.0.1"
READ_BYTES: Final = 256 * 1024
AT_ONCE: Final = 64
"""Packets in one write."""


class SshPackets:
    """:meth:`carry` while :attr:`endpoint` connects to :attr:`port`."""

    def __init__(self, driver: Driver, process: Any, tuning: Tuning) -> None:
        """``process``: what asyncssh started, in bytes."""
        self._process = process
        with client_socket(LOOPBACK, LOOPBACK) as inner:
            self.endpoint: Endpoint = client_endpoint(driver, inner, **tuning.endpoint())
            self._ears = client_socket(LOOPBACK, LOOPBACK)
            self._ears.connect((LOOPBACK, inner.getsockname()[1]))  # nobody else is heard
        self._ears.setblocking(False)
        self.port = int(self._ears.getsockname()[1])

    async def carry(self, answer: Awaitable[object]) -> None:
        """Until the channel's end, whatever ends it. What comes after ``answer`` are packets."""
        ways = [asyncio.ensure_future(way) for way in (self._out(), self._back(answer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.close()

    async def _out(self) -> None:
        loop, ears, sink = asyncio.get_running_loop(), self._ears, self._process.stdin
        while True:
            parts = [frame(await loop.sock_recv(ears, MAX_PACKET))]
            with contextlib.suppress(BlockingIOError):
                while len(parts) < AT_ONCE:
                    parts.append(frame(ears.recv(MAX_PACKET)))
            sink.write(b"".join(parts))
            await sink.drain()

    async def _back(self, answer: Awaitable[object]) -> None:
        await answer
        reader = PacketReader()
        while data := await self._process.stdout.read(READ_BYTES):
            for packet in reader.feed(data):
                with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                    self._ears.send(packet)

    def close(self) -> None:
        """Leave the host's side, too."""
        self.endpoint.close()
        self._ears.close()
        self._process.close()
