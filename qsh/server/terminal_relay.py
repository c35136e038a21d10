"""A terminal's channel in the front: relayed unread to the session host, which also hears how the path does."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from qsh.errors import ChannelError, DescriptorError, StreamReset, TransportError
from qsh.server.requests import PathState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.quic import Connection, Stream
    from qsh.server.links import HostLink

__all__ = ["PathReporter", "TerminalRelay", "is_farewell"]


def is_farewell(error: TransportError) -> bool:
    """The peer closed the connection in good order, rather than was lost."""
    return error.kind == "closed-by-peer" and error.code == 0


class TerminalRelay:
    """Stream ⇄ stream socket, flow of the channel's number ⇄ datagram socket, all of it natively.

    The host cannot tell a closed socket's reasons. So one descriptor of its stream socket is kept to :meth:`close`: whoever has
    to say that the client left on purpose must say it before.
    """

    def __init__(self, connection: Connection, stream: Stream, descriptors: list[int]) -> None:
        """Take over both sockets and begin the flow: a client that has read OPENED may send datagrams.

        Raises OSError, ValueError; then all is closed.
        """
        self._connection, self._stream = connection, stream
        self._number = stream.recv.id
        self._kept, *self._copies = descriptors
        """One to keep, and those that no splice has taken yet."""
        try:
            if len(descriptors) != 2:
                raise ValueError("a terminal has two sockets")
            self._copies += [os.dup(self._kept), os.dup(self._kept)]
            connection.splice_flow(self._number, self._copies.pop(0))
        except BaseException:
            self.close()
            raise

    async def run(self) -> bool:
        """Return when the host's side has ended, or True as soon as the client has given the channel up.

        Either way neither half of the stream is left open. Raises TransportError when the connection is gone.
        """
        incoming = asyncio.create_task(self._copy_in())
        outgoing = asyncio.create_task(self._copy_out())
        try:
            await asyncio.wait((incoming, outgoing), return_when=asyncio.FIRST_COMPLETED)
            gave_up = (not outgoing.done() and incoming.result()) or await outgoing
        finally:
            incoming.cancel()
            outgoing.cancel()
            await asyncio.gather(incoming, outgoing, return_exceptions=True)
        self._stream.recv.stop(0)
        if gave_up:
            self._stream.send.reset(0)
        return gave_up

    async def _copy_in(self) -> bool:
        try:
            await self._stream.recv.splice_to(self._copies.pop())
        except StreamReset:
            return True
        except DescriptorError:
            pass  # the host reads no more, and is about to end its side
        return False

    async def _copy_out(self) -> bool:
        try:
            await self._stream.send.splice_from(self._copies.pop())
        except StreamReset:
            return True
        except DescriptorError:
            self._stream.send.finish()
        return False

    def close(self) -> None:
        """Let the host see the end of both sockets. Idempotent."""
        self._connection.end_flow(self._number)
        for descriptor in (self._kept, *self._copies):
            if descriptor >= 0:
                os.close(descriptor)
        self._kept = -1
        self._copies.clear()


class PathReporter:
    """Tells a connection's session host how the path does, as long as there are terminals on it."""

    def __init__(self, connection: Connection, host: HostLink) -> None:
        self._connection, self._host = connection, host
        self._terminals = 0
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def for_terminal(self) -> Iterator[None]:
        """While one terminal runs."""
        self._terminals += 1
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._terminals -= 1
            if not self._terminals:
                self._task.cancel()
                self._task = None

    async def _run(self) -> None:
        first = True
        with contextlib.suppress(TransportError, ChannelError):
            while True:
                state = await self._connection.path_news(first=first)
                self._host.send(PathState(*state))
                first = False
