"""One UDP flow: a socket, or one peer of a listener, and the stream that the flow lives as long as (docs/protocol.md 12)."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any, Final

from qsh.channels.frames import read_frame
from qsh.errors import StreamReset
from qsh.quic import flow_end, splice_udp
from qsh.wire import framing
from qsh.wire.channel import AnswerReader
from qsh.wire.messages import Failed

if TYPE_CHECKING:
    import socket

    from qsh.quic import Connection, FlowEnd, Peer, Stream, UdpListener
    from qsh.wire.messages import Open

__all__ = ["MAX_FLOWS", "MAX_PEERS", "described", "join", "lead"]

MAX_FLOWS: Final = 512
"""Of one connection, each way: half of the streams that it may have."""
MAX_PEERS: Final = 256
"""Of one listening socket."""
CODE_REFUSED: Final = 3
"""The stream's application code where nobody takes the datagrams (docs/protocol.md 12.5)."""


async def join(
    connection: Connection, stream: Stream, sock: socket.socket, first: bytes, by_stream: int
) -> FlowEnd:
    """Until the end of a flow that leads to a connected socket. ``first`` is said on the stream before; all is taken over.

    Raises OSError, ValueError.
    """
    stream.send.put(first)
    try:
        ended = splice_udp(connection, stream, sock.detach(), by_stream=by_stream)
    except (OSError, ValueError):
        stream.abort(CODE_REFUSED)
        raise
    try:
        return await flow_end(ended)
    finally:
        connection.end_flow(stream.id)


async def lead(
    listener: UdpListener, peer: Peer, connection: Connection, request: Open
) -> FlowEnd | Failed | None:
    """Until the end of a new peer's flow, which ``request`` opens; None if the peer was given up at once.

    Raises TransportError, ProtocolError.
    """
    try:
        stream = await connection.open_bi()
    except BaseException:
        listener.forget(peer)
        raise
    stream.send.put(framing.encode(request))
    try:
        ended = listener.attach(peer, connection, stream, by_stream=request.by_stream)
    except ValueError:
        stream.abort()
        return None
    answer = asyncio.ensure_future(read_frame(stream.recv, AnswerReader()))
    try:
        waited: set[asyncio.Future[Any]] = {answer, ended}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            try:
                found, _ = answer.result()
            except StreamReset as error:  # so early that the answer was lost with it
                listener.forget(peer)
                return (await flow_end(ended))._replace(why="reset", code=error.code)
            if isinstance(found, Failed):
                return found
            listener.opened(peer, stream)
        return await flow_end(ended)
    finally:
        answer.cancel()
        listener.forget(peer)
        stream.recv.stop(0)


def described(end: FlowEnd) -> str:
    """For -v."""
    why = {"ended": "ended by the other side", "idle": "not used any more", "closed": "closed"}
    text = why.get(end.why, "failed")
    if end.why == "socket":
        text = os.strerror(end.code)
    elif end.why == "reset":
        text = os.strerror(errno.ECONNREFUSED) if end.code == CODE_REFUSED else "failed there"
    return f"{text}; datagrams: {end.sent} sent, {end.received} received, {end.dropped} lost"
