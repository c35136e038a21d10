"""SSH in place of UDP for a connection that is there: a byte stream that ``qshd -i`` carries to the UDP port of a qshd that runs
(docs/protocol.md 15.22). Nobody is asked for anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from qsh.client.log import log, log_failure
from qsh.client.mover import Dialed
from qsh.client.prompt import Prompter
from qsh.client.way_probe import TOKEN_BYTES, answer_number, probe
from qsh.errors import ConnectError, QshError
from qsh.wire.packet_frames import GREETING, PacketReader, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.client.addresses import Address
    from qsh.client.host_key import KnownHost
    from qsh.client.ssh_carrier import Carrier
    from qsh.config.options import ClientOptions

    Reached = tuple[Sequence[tuple[ClientOptions, KnownHost]], Sequence[Address]]

__all__ = ["SshStreams"]

LIMIT_S: Final = 20.0
"""For the login, qshd's start, and an answer of the qshd that runs."""
PAUSE_S: Final = (60.0, 600.0)
"""From a login that was of no use to the next: at first, twice that after each further one, and at most."""
READ_BYTES: Final = 256 * 1024


class SshStreams:
    """To one host, over a client's life."""

    def __init__(self, reach: Callable[[], Reached]) -> None:
        """``reach``: the way there, as for the carrier."""
        self._reach = reach
        self._vain = 0
        self._not_before_s = float("-inf")
        self._carrying: set[asyncio.Task[None]] = set()

    async def dial(self, remote: tuple[str, int]) -> Dialed:
        """A stream that leads to the qshd of this address, which has answered. Raises ConnectError."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before_s:
            raise ConnectError("SSH was of no use just now", kind="ssh")
        first_s, most_s = PAUSE_S
        self._not_before_s = loop.time() + min(most_s, first_s * 2.0**self._vain)
        self._vain = min(self._vain + 1, 10)
        from qsh.client.ssh_carrier import Carrier

        way, addresses = self._reach()
        carrier = Carrier(way, addresses, Prompter(batch=True))
        try:
            async with asyncio.timeout(LIMIT_S):
                await carrier.connect()
                process = await carrier.bridge(remote[1], ipv6=":" in remote[0])
                await carrier.answer(process, keys=False)
                await _await_answer(process)
        except (QshError, OSError, TimeoutError) as error:
            carrier.close()
            raise ConnectError(f"through SSH: {error or 'no answer'}", kind="ssh") from None
        except BaseException:
            carrier.close()
            raise
        self._vain, self._not_before_s = 0, float("-inf")
        ours, theirs = socket.socketpair()
        task = asyncio.ensure_future(_carry(ours, process, carrier))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        task.add_done_callback(log_failure)
        return Dialed(theirs, ("ssh", way[-1][0].hostname))


async def _await_answer(process: Any) -> None:
    """Of whoever is at the port over there. Raises ConnectError."""
    token, reader = os.urandom(TOKEN_BYTES), PacketReader()
    process.stdin.write(frame(probe(token, 0)))
    while data := await process.stdout.read(READ_BYTES):
        if any(answer_number(packet, token) is not None for packet in reader.feed(data)):
            return
    raise ConnectError("qshd -i has ended", kind="ssh")


async def _carry(ours: socket.socket, process: Any, carrier: Carrier) -> None:
    """Until either side ends. What is in the stream behind the greeting is what ``qshd -i`` takes, and the other way round."""
    reader, writer = await asyncio.open_connection(sock=ours, limit=READ_BYTES)
    writer.write(GREETING)

    async def out() -> None:
        await reader.readexactly(len(GREETING))
        while data := await reader.read(READ_BYTES):
            process.stdin.write(data)
            await process.stdin.drain()

    async def back() -> None:
        while data := await process.stdout.read(READ_BYTES):
            writer.write(data)
            await writer.drain()

    ways = [asyncio.ensure_future(way) for way in (out(), back())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        for outcome in await asyncio.gather(*ways, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.debug(f"through SSH: {outcome}")
        writer.close()
        with contextlib.suppress(OSError):
            process.close()
        carrier.close()
