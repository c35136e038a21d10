"""One channel in the front: the client's stream spliced with the descriptors that the session host opened."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from qsh.channels.frames import read_frame
from qsh.errors import ChannelError, DescriptorError, StreamReset, TransportError
from qsh.forward.relay import Relay
from qsh.forward.udp_flow import MAX_FLOWS, join
from qsh.server.requests import Connect, OpenChannel, Resize, SendSignal
from qsh.server.terminal_relay import TerminalRelay, is_farewell
from qsh.wire import framing
from qsh.wire.channel import OpenReader
from qsh.wire.messages import Exit, Failed, Opened, StderrHeader

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from qsh.quic import Connection, SendStream, Stream
    from qsh.server.links import HostLink
    from qsh.server.requests import Exited
    from qsh.wire.messages import Open, Signal, WindowChange

__all__ = ["ServerChannel"]

PRIORITY_TERMINAL: Final = 20
PRIORITY_STDERR: Final = 10
WINDOW_WAIT_S: Final = 0.5
"""How long a window change waits for the input that was typed before it; after that it is late rather than lost."""
WINDOW_POLL_S: Final = 0.01
CODE_REFUSED: Final = 1


class ServerChannel:
    """Lives as long as its program, or as its client's attachment to a terminal."""

    def __init__(
        self,
        connection: Connection,
        stream: Stream,
        host: HostLink,
        opening: asyncio.Semaphore,
        while_terminal: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        while_forward: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        audit: Callable[[Open, ChannelError | None], None] = lambda request, refusal: None,
    ) -> None:
        """``while_terminal`` is entered while a terminal is relayed, ``while_forward`` while a forward is; ``audit`` hears
        of what was opened, or why it was not.
        """
        self._audit = audit
        self._connection, self._stream, self._host = connection, stream, host
        self._opening, self._while_terminal = opening, while_terminal
        self._while_forward = while_forward
        self.number = stream.recv.id
        self._header = 0
        self._running = False
        self._window: WindowChange | None = None
        """The latest change, while it waits for OPENED or for the input before it."""
        self._descriptors: list[int] = []
        """Of the program, as long as no splice has taken them."""
        self._terminal = False
        """It has frames: window sizes and signals come in them."""
        self._hangs_up = False
        """There is a terminal that goes with its client."""

    async def run(self) -> Exit | None:
        """Open, splice, end: the EXIT to send, or None for a terminal, or if nothing was started or the client gave up on it.

        Raises RemoteProtocolError for a bad OPEN, TransportError when the connection is gone.
        """
        async with self._opening:
            request, self._header = await read_frame(self._stream.recv, OpenReader())
        if request.kind == "connect":
            await self._connected(request)
            return None
        if request.kind == "udp":
            await self._udp(request)
            return None
        self._terminal = request.terminal is not None
        self._hangs_up = self._terminal and request.kind != "attach"  # that one is older than this
        try:
            answer, descriptors = await self._host.open(self._request(request))
        except ChannelError as error:
            self._hangs_up = False
            self._audit(request, error)
            await self._refuse(error)
            return None
        self._audit(request, None)
        self._terminal = answer.terminal
        if answer.terminal:
            await self._relayed(answer.notices, descriptors)
            return None
        self._hangs_up = False
        if request.pty is not None and len(descriptors) == 2:
            self._stream.send.set_priority(PRIORITY_TERMINAL)
        return await self._spliced(answer.notices, descriptors)

    def _request(self, request: Open) -> OpenChannel:
        return OpenChannel(
            self.number,
            request.kind,
            request.command,
            request.pty,
            request.env,
            request.terminal,
            request.agent,
            request.x11,
        )

    async def _refuse(self, error: ChannelError) -> None:
        failed = Failed(error.code or "failed", str(error), error.detail)
        await self._stream.send.write(framing.encode(failed))
        self._stream.send.finish()
        self._stream.recv.stop(CODE_REFUSED)

    # -- a forwarded connection -----------------------------------------------------------------

    async def _connected(self, request: Open) -> None:
        if request.target is None:
            await self._refuse(ChannelError("no target", code="bad-channel"))
            return
        with self._while_forward():
            try:
                sock = await self._host.connect(
                    Connect(self.number, request.target, request.origin)
                )
            except ChannelError as error:
                self._audit(request, error)
                await self._refuse(error)
                return
            self._audit(request, None)
            relay = Relay(self._stream, socket.socket(fileno=sock))
            await relay.open(framing.encode(Opened()))
            await relay.run()

    async def _udp(self, request: Open) -> None:
        target, host = request.target, self._host
        if target is None:
            await self._refuse(ChannelError("no target", code="bad-channel"))
            return
        if host.flows >= MAX_FLOWS:
            await self._refuse(ChannelError("too many UDP flows", code="resources"))
            return
        host.flows += 1
        try:
            wanted = Connect(self.number, target, request.origin, udp=True)
            sock = socket.socket(fileno=await host.connect(wanted))
            self._audit(request, None)
            first = framing.encode(Opened())
            await join(self._connection, self._stream, sock, first, request.by_stream)
        except ChannelError as error:
            self._audit(request, error)
            await self._refuse(error)
        except (OSError, ValueError):
            pass  # the stream was reset
        finally:
            host.flows -= 1

    # -- a terminal ------------------------------------------------------------------------------

    async def _relayed(self, notices: list[str], descriptors: list[int]) -> None:
        self._host.forget(self.number)
        try:
            relay = TerminalRelay(self._connection, self._stream, descriptors)
        except (OSError, ValueError) as error:
            self.client_ended()
            await self._refuse(ChannelError(str(error), code="resources"))
            return
        self._hangs_up = True
        try:
            self._stream.send.set_priority(PRIORITY_TERMINAL)
            await self._stream.send.write(framing.encode(Opened(notices=notices, terminal=True)))
            with self._while_terminal():
                gave_up = await relay.run()
            if gave_up:
                self.client_ended()
        except TransportError as error:
            if isinstance(error, StreamReset) or is_farewell(error):
                self.client_ended()
            raise
        finally:
            self._hangs_up = False
            relay.close()

    def client_ended(self) -> None:
        """The client went in good order and leaves its terminal to nobody. One that is merely lost finds it again."""
        if self._hangs_up:
            self._hangs_up = False
            self._host.hang_up(self.number)

    # -- a program with pipes --------------------------------------------------------------------

    async def _spliced(self, notices: list[str], descriptors: list[int]) -> Exit | None:
        self._running = True
        self._descriptors = descriptors
        tasks: list[asyncio.Task[Any]] = []
        try:
            await self._stream.send.write(
                framing.encode(Opened(stderr=len(descriptors) == 3, notices=notices))
            )
            stderr = await self._open_stderr() if len(descriptors) == 3 else None
            tasks.append(asyncio.create_task(self._copy_in(descriptors[0])))
            outputs = [asyncio.create_task(self._copy_out(self._stream.send, descriptors[1]))]
            if stderr is not None:
                outputs.append(asyncio.create_task(self._copy_out(stderr, descriptors[2])))
            tasks += outputs
            if self._window is not None:
                tasks.append(asyncio.create_task(self._apply_window(self._window)))
            exited = await self._host.exited(self.number)
            totals = await asyncio.gather(*outputs)
            self._running = False
            self._stream.recv.stop(0)
            return self._exit(exited, totals)
        finally:
            for task in tasks:
                task.cancel()
            while descriptors:  # of tasks, too, that never came to their first step
                os.close(descriptors.pop())
            if self._running:
                self._running = False
                self._host.hang_up(self.number)

    def _exit(self, exited: Exited, totals: list[int]) -> Exit:
        return Exit(
            self.number,
            stdout_offset=totals[0],
            stderr_offset=totals[1] if len(totals) > 1 else 0,
            status=exited.status,
            signal=exited.signal,
            core_dumped=exited.core_dumped,
        )

    async def _open_stderr(self) -> SendStream:
        stream = await self._connection.open_uni()
        stream.set_priority(PRIORITY_STDERR)
        await stream.write(framing.encode(StderrHeader(self.number)))
        return stream

    async def _copy_in(self, descriptor: int) -> int:
        self._descriptors.remove(descriptor)
        try:
            return await self._stream.recv.splice_to(descriptor)
        except (DescriptorError, StreamReset):
            return 0  # the program closed its input, or the client its output: both may

    async def _copy_out(self, stream: SendStream, descriptor: int) -> int:
        before = stream.total
        self._descriptors.remove(descriptor)
        try:
            return await stream.splice_from(descriptor)
        except StreamReset:
            return stream.total - before  # the client wants no more; the program sees a closed pipe
        except DescriptorError:
            stream.finish()
            return stream.total - before

    # -- from the control stream -----------------------------------------------------------------

    async def resize(self, change: WindowChange) -> None:
        """Apply a window change once the program runs and the input before it was delivered. Only the last counts.

        It is not for terminals with frames: there it would be applied never.
        """
        if self._terminal:
            return
        waiting, self._window = self._window is not None or not self._running, change
        if not waiting:
            await self._apply_window(change)

    async def _apply_window(self, change: WindowChange) -> None:
        waited = 0.0
        while (
            self._stream.recv.total - self._header < change.input_offset and waited < WINDOW_WAIT_S
        ):
            await asyncio.sleep(WINDOW_POLL_S)
            waited += WINDOW_POLL_S
            change = self._window or change
        self._window = None
        self._tell(Resize(self.number, change.rows, change.cols, change.xpixel, change.ypixel))

    def signal(self, signal: Signal) -> None:
        """Pass a signal on."""
        self._tell(SendSignal(self.number, signal.name))

    def _tell(self, message: Resize | SendSignal) -> None:
        if self._running:
            with contextlib.suppress(ChannelError):
                self._host.send(message)
