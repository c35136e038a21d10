"""``-W``: standard input and output as one end of a forwarded connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from qsh.channels.frames import read_frame
from qsh.client.log import log
from qsh.client.text import visible
from qsh.errors import ChannelError, DescriptorError, ForwardError, QshError, StreamReset
from qsh.forward.failure import open_failed
from qsh.wire import framing
from qsh.wire.channel import AnswerReader
from qsh.wire.messages import Failed, Open, Target

if TYPE_CHECKING:
    from qsh.client.link import Link
    from qsh.quic import SendStream, Stream

__all__ = ["ask", "lead", "run", "target_of"]

PATH_PORT: Final = -2
"""Stands for a path in ClientOptions.stdio_forward."""


def target_of(stdio_forward: tuple[str, int]) -> Target:
    """Where -W leads to."""
    host, port = stdio_forward
    return Target(path=os.fsencode(host)) if port == PATH_PORT else Target(host, port)


async def run(link: Link, target: Target) -> int:
    """The exit status, once the target has said its end.

    Raises ForwardError if it cannot be had, ChannelError if it was cut off.
    """
    stream = await ask(link, target)
    if isinstance(stream, Failed):
        log.error(f"channel 0: {open_failed(stream.code, visible(stream.reason))}")
        raise ForwardError("stdio forwarding failed")
    await lead(stream, os.dup(0), os.dup(1))
    return 0


async def ask(link: Link, target: Target) -> Stream | Failed:
    """The connection that the host makes, or why there is none."""
    stream = await link.connection.open_bi()
    await stream.send.write(framing.encode(Open("connect", target=target)))
    answer, _ = await read_frame(stream.recv, AnswerReader())
    return answer if isinstance(answer, Failed) else stream


async def lead(stream: Stream, stdin: int, stdout: int) -> None:
    """Until the target has said its end. The descriptors, which are somebody else's too, are taken over.

    Raises ChannelError if it was cut off.
    """
    feeding = asyncio.ensure_future(_feed(stream.send, stdin))
    try:
        await stream.recv.splice_to(stdout, shared=True)
    except StreamReset:
        raise ChannelError("connection reset by the target") from None
    except DescriptorError as error:
        if error.kind != "fd-closed":
            text = f"write to standard output: {os.strerror(error.code)}"
            raise ChannelError(text) from None
    finally:
        feeding.cancel()


async def _feed(send: SendStream, stdin: int) -> None:
    try:
        await send.splice_from(stdin, shared=True)
    except QshError as error:
        log.debug(f"standard input: {error}", 2)
        with contextlib.suppress(QshError):
            send.finish()
