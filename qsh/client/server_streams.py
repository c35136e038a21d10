"""Streams that the host opens: each begins with OPEN and goes to who serves its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.channels.frames import read_frame
from qsh.client.log import log
from qsh.client.spawned import Spawned
from qsh.client.text import visible
from qsh.errors import QshError
from qsh.forward.failure import NOT_PERMITTED
from qsh.wire import framing
from qsh.wire.channel import OpenReader
from qsh.wire.messages import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from qsh.client.link import Link
    from qsh.forward.failure import Failure
    from qsh.quic import Stream
    from qsh.wire.messages import Open

    Server = Callable[[Link, Stream, Open], Coroutine[object, object, None]]

__all__ = ["ServerStreams", "end", "refuse"]

_CALLS = {"agent": "agent", "x11": "X11"}


class ServerStreams:
    """:attr:`servers` by kind, for every connection that is :meth:`accept`\\ ed from."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self._spawned = Spawned("forwarded connection", quiet=(QshError,))
        self._accepts_from: Link | None = None

    def accept(self, link: Link) -> None:
        """From now on, until this connection ends. Idempotent."""
        if self._accepts_from is not link:
            self._accepts_from = link
            self.spawn(self._accept(link))

    async def _accept(self, link: Link) -> None:
        while True:
            self.spawn(self._serve(link, await link.connection.accept_bi()))

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run it; only what is a bug of ours is told."""
        self._spawned.spawn(work)

    async def _serve(self, link: Link, stream: Stream) -> None:
        request, _ = await read_frame(stream.recv, OpenReader())
        server = self.servers.get(request.kind)
        if server is not None:
            await server(link, stream, request)
            return
        log.debug(f"server request to open {visible(request.kind)} channel refused")
        if request.kind in _CALLS:
            log.error(f"Warning: ssh server tried {_CALLS[request.kind]} forwarding.")
            log.error("Warning: this is probably a break-in attempt by a malicious server.")
        await refuse(stream, NOT_PERMITTED)


async def refuse(stream: Stream, failure: Failure) -> None:
    """Say why there is nothing here."""
    await end(stream, framing.encode(Failed(failure.code, failure.reason, failure.detail)))


async def end(stream: Stream, last: bytes) -> None:
    """Send this, and nothing more either way."""
    if last:
        await stream.send.write(last)
    stream.send.finish()
    stream.recv.stop(0)
