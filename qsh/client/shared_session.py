"""One client of a shared connection, in its master: what it asks for, and what is told to it (docs/protocol.md 14).

A program's data never comes by here: the client's own descriptors are spliced with the channel's streams. A terminal's streams
are handed out as descriptors, and what they carry is its client's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qsh.client import stdio_forward
from qsh.client.log import log
from qsh.client.resume import is_final
from qsh.client.text import visible
from qsh.errors import (
    ChannelError,
    ConnectionLost,
    DescriptorError,
    QshError,
    RemoteProtocolError,
)
from qsh.forward.failure import open_failed
from qsh.wire.messages import Failed
from qsh.wire.sharing import (
    DESCRIPTORS,
    SHARING_VERSION,
    Answered,
    Ask,
    Attend,
    Done,
    Exited,
    ForwardRequest,
    HangUp,
    Lost,
    PathReport,
    Refused,
    SessionOpened,
    SessionRequest,
    StdioRequest,
    Welcome,
)
from qsh.wire.terminal import Detach, encode

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from qsh.channels.session import ClientChannel
    from qsh.client.control_socket import ControlSocket
    from qsh.client.link import Link
    from qsh.client.master import Master
    from qsh.wire.messages import Exit, Message, Opened

__all__ = ["SharedClient"]

T = TypeVar("T")

CODE_GONE: Final = 0
PATH_S: Final = 0.25
"""Between reports of the path to a client with a terminal."""
DETACH_S: Final = 2.0
"""How long a killed client's terminal may take to be told that it is alone."""


class SharedClient:
    """From the connection to its end. One request at a time."""

    def __init__(self, master: Master, control: ControlSocket, *, owner: bool = False) -> None:
        """``owner``: the process that started the master."""
        self._master, self._control, self.owner = master, control, owner
        self._work: asyncio.Task[None] | None = None
        self._detaches = True
        """A client that is gone without a word has left its terminal."""
        self._over = False
        """Its terminal has ended."""
        self.has_terminal = False
        """Which is there, or will be asked for again."""
        self._used: Link | None = None
        """The connection of its terminal."""
        self._next: SessionRequest | None = None
        """To be served when what is done now has ended."""
        self._closed = False
        control.sock.setblocking(False)
        asyncio.get_running_loop().add_reader(control.fileno(), self._readable)

    # -- the socket

    @property
    def work(self) -> asyncio.Task[None] | None:
        """What is done for it now."""
        return self._work

    def welcome(self, *, stays: bool) -> None:
        """Say that requests may come, and whether the master stays without them."""
        self.tell(Welcome(SHARING_VERSION, os.getpid(), stays))

    def tell(self, message: Message, *descriptors: int) -> None:
        """Send; a client that is gone, or does not read, is given up."""
        if self._closed:
            return
        try:
            self._control.send(message, descriptors)
        except OSError as error:
            log.debug(f"mux client: {error}", 2)
            self.close()
            return
        if self._control.waiting:
            asyncio.get_running_loop().add_writer(self._control.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            self._control.flush()
        except OSError:
            self.close()
            return
        if not self._control.waiting:
            asyncio.get_running_loop().remove_writer(self._control.fileno())

    def _readable(self) -> None:
        try:
            more = self._control.receive()
            while not self._closed and (message := self._control.next()) is not None:
                self._take(message)
        except BlockingIOError:
            return
        except RemoteProtocolError as error:
            log.debug(f"mux client: {error}")
            more = False
        if not more:
            self.close()

    def _take(self, message: Message) -> None:
        if isinstance(message, HangUp):
            self._detaches = False
            self.close()
            return
        if isinstance(message, Done):
            self._over, self.has_terminal = True, False
            if self._work is not None:
                self._work.cancel()
            else:
                self._master.served(self)
            return
        if self.has_terminal and isinstance(message, SessionRequest) and _attaches(message):
            self._next = message
            if self._work is not None:
                self._work.cancel()
            else:
                self._begin()
            return
        if self._work is not None:
            raise RemoteProtocolError("out-of-state", f"{type(message).__name__} meanwhile")
        descriptors: list[int] = []
        if not isinstance(message, SessionRequest) or message.open.terminal is None:
            taken = self._control.take_descriptors(DESCRIPTORS.get(type(message), 0))
            if taken is None:
                self.tell(Refused("failed", "did not receive file descriptors"))
                raise RemoteProtocolError("bad-message", "not the descriptors that it says")
            descriptors = taken
        self._start(message, descriptors)

    def _begin(self) -> None:
        message, self._next = self._next, None
        if message is not None:
            self._start(message, [])

    def _start(self, message: Message, descriptors: list[int]) -> None:
        self._work = asyncio.ensure_future(self._serve(message, descriptors))
        self._work.add_done_callback(lambda work: self._served(work, descriptors))

    def _served(self, work: asyncio.Task[None], descriptors: list[int]) -> None:
        _close_all(descriptors)  # of a work, too, that never came to its first step
        self._work = None
        error = None if work.cancelled() else work.exception()
        if error is not None:
            log.error(f"qsh: shared connection: {type(error).__name__}: {error}")
            self.close()
        if not self._closed:
            self._begin()

    def close(self) -> None:
        """The client is gone, or to be rid of: what runs for it is hung up. Idempotent."""
        if self._closed:
            return
        self._closed, self.has_terminal = True, False
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control.fileno())
        loop.remove_writer(self._control.fileno())
        self._control.close()
        if self._work is not None:
            self._work.cancel()
        self._master.left(self)

    # -- requests

    async def _serve(self, message: Message, descriptors: list[int]) -> None:
        try:
            if isinstance(message, SessionRequest):
                await self._with_session(self._session(message, descriptors))
            elif isinstance(message, StdioRequest):
                await self._with_session(self._stdio(message, descriptors), "stdio-forward")
            elif isinstance(message, Attend):
                with self._master.session("no session"):
                    self.tell(SessionOpened())
                    await self._master.over()
            elif isinstance(message, ForwardRequest):
                self.tell(await self._master.forward(message))
            elif isinstance(message, Ask):
                await self._answer(message)
        except ConnectionLost as error:
            self.tell(Exited(error=self._master.text_of(error)))
        finally:
            if isinstance(message, SessionRequest | StdioRequest) and not self.has_terminal:
                self._master.served(self)

    async def _with_session(
        self, work: Coroutine[Any, Any, None], text: str = "client-session"
    ) -> None:
        try:
            if not self.owner and not await self._master.allows("Allow shared connection to {}? "):
                self.tell(Refused("denied", "Permission denied"))
                return
            with self._master.session(text):
                await work
        except QshError as error:
            self.tell(Exited(error=self._master.text_of(error)))
        except (OSError, ValueError) as error:  # of a descriptor that is none to read or to write
            self.tell(Exited(error=f"qsh: {error}"))
        finally:
            work.close()

    async def _session(self, request: SessionRequest, descriptors: list[int]) -> None:
        number = request.request
        try:
            link = await self._master.link(self._used, request.open)
        except (QshError, OSError) as error:
            final = isinstance(error, QshError) and is_final(error)
            reason = str(error) if isinstance(error, QshError) else os.strerror(error.errno or 0)
            self.tell(Refused("failed" if final else "resources", reason, request=number))
            return
        channel = await link.open_channel(self._master.offer(request))
        answering = asyncio.ensure_future(channel.answer())
        try:
            opened = await _before_loss(link, answering)
        except ChannelError as error:
            link.forget(channel)
            self.tell(Refused(error.code or "failed", str(error), error.detail, number))
            return
        except asyncio.CancelledError:
            if request.open.terminal is not None and self._detaches:
                self._master.keep(_leave_late(link, channel, answering))
            else:
                self._master.keep(_hang_up_late(link, channel, answering))
            raise
        if opened.terminal:
            await self._terminal(link, channel, opened, number)
            return
        self.tell(SessionOpened(tuple(opened.notices), request=number))
        self.tell(await self._program(link, channel, descriptors))

    async def _program(self, link: Link, channel: ClientChannel, descriptors: list[int]) -> Exited:
        stdin, stdout, stderr = descriptors
        descriptors.clear()  # the splices have them now
        feeding = asyncio.ensure_future(_feed(channel, stdin))
        copying = asyncio.ensure_future(channel.copy_output(stdout, stderr))
        await asyncio.sleep(0)
        try:
            with self._master.receives():
                ended = await _before_loss(link, copying)
        except BaseException as error:
            copying.cancel()
            _hang_up(link, channel)
            if isinstance(error, DescriptorError):
                text = f"write to standard output: {os.strerror(error.code)}"
                raise ChannelError(text) from None
            raise
        finally:
            feeding.cancel()
        link.forget(channel)
        return _exited(ended)

    async def _stdio(self, request: StdioRequest, descriptors: list[int]) -> None:
        link = await self._master.link()
        stream = await stdio_forward.ask(link, request.target)
        if isinstance(stream, Failed):
            text = open_failed(stream.code, visible(stream.reason))
            self.tell(Refused(stream.code, text, stream.detail))
            return
        self.tell(SessionOpened())
        stdin, stdout = descriptors
        descriptors.clear()
        leading = asyncio.ensure_future(stdio_forward.lead(stream, stdin, stdout))
        try:
            with self._master.receives():
                await _before_loss(link, leading)
        except BaseException:
            leading.cancel()
            stream.abort(CODE_GONE)
            raise
        self.tell(Exited(0))

    async def _answer(self, message: Ask) -> None:
        master, what = self._master, message.what
        questions = {
            "exit": "Terminate shared connection to {}? ",
            "stop": "Disable further multiplexing on shared connection to {}? ",
        }
        if what in questions and not await master.allows(questions[what]):
            self.tell(Refused("denied", "Permission denied"))
            return
        if what == "stop":
            master.stop_listening()
        text = {"conninfo": master.connection_info, "channels": master.channels}
        self.tell(Answered(text[what]()[:32768] if what in text else ""))
        if what == "exit":
            master.end()

    # -- a terminal

    async def _terminal(
        self, link: Link, channel: ClientChannel, opened: Opened, number: int
    ) -> None:
        """Hand its streams out, and stay until the client is gone or the connection is lost."""
        datagrams, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ended = link.connection.splice_flow(channel.id, datagrams.detach())
        peeled = link.peel(channel)
        try:
            self._used, self.has_terminal = link, True
            answer = SessionOpened(tuple(opened.notices), terminal=True, request=number)
            self.tell(answer, peeled, theirs.fileno())
            theirs.close()
            reporting = asyncio.ensure_future(self._report_path(link))
            try:
                await asyncio.wait({link.lost})
                why = link.lost.result()
                self.tell(Lost(str(why)[:1024], why.kind, max(0, why.code), number))
            finally:
                reporting.cancel()
        finally:
            theirs.close()
            ended.cancel()
            link.connection.end_flow(channel.id)
            self._leave_terminal(link, channel, peeled)

    def _leave_terminal(self, link: Link, channel: ClientChannel, peeled: int) -> None:
        """Its client is gone: on purpose, then the terminal goes too, or killed, then it is detached."""
        link.forget(channel)
        if self._over:
            channel.ended()
            os.close(peeled)  # what the client wrote last is in the socket
            return
        if self._detaches and not link.lost.done():
            with contextlib.suppress(OSError):  # behind what the client wrote last
                os.set_blocking(peeled, False)
                os.write(peeled, encode(Detach()))
            self._master.keep(_close_later(peeled))
            return
        os.close(peeled)
        channel.abort()

    async def _report_path(self, link: Link) -> None:
        told = None
        while True:
            stats = link.connection.stats()
            report = PathReport(
                **{name: stats[name] for name in PathReport.__struct_fields__ if name in stats}
            )
            if report != told:
                told = report
                self.tell(report)
            await asyncio.sleep(PATH_S)


def _attaches(message: SessionRequest) -> bool:
    return message.open.kind == "attach" and message.open.terminal is not None


async def _before_loss(link: Link, work: asyncio.Future[T]) -> T:
    """The work's result. Raises ConnectionLost when the connection is lost before."""
    waited: set[asyncio.Future[Any]] = {work, link.lost}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        await asyncio.wait({work}, timeout=0.05)  # what the loss itself tells the work
    if work.done():
        return work.result()
    work.cancel()
    raise link.lost.result()


async def _feed(channel: ClientChannel, stdin: int) -> None:
    try:
        await channel.send.splice_from(stdin, shared=True)
    except QshError as error:
        log.debug(f"standard input: {error}", 2)
        if isinstance(error, DescriptorError):
            with contextlib.suppress(QshError):
                channel.send.finish()


def _hang_up(link: Link, channel: ClientChannel) -> None:
    """Of a program that runs: nobody is there any more."""
    link.forget(channel)
    if not link.lost.done():
        channel.signal("HUP")
    channel.abort()


async def _hang_up_late(
    link: Link, channel: ClientChannel, answering: asyncio.Future[Opened]
) -> None:
    """Of one that is about to run: a signal before its start would be lost."""
    with contextlib.suppress(QshError):
        await _before_loss(link, answering)
    _hang_up(link, channel)


async def _leave_late(
    link: Link, channel: ClientChannel, answering: asyncio.Future[Opened]
) -> None:
    """Of a terminal that is about to be there: it goes on, and its client asks for it again, or is dead."""
    with contextlib.suppress(QshError, TimeoutError):
        await _before_loss(link, answering)
        await channel.send.write(encode(Detach()))
        channel.send.finish()
        async with asyncio.timeout(DETACH_S):
            while await channel.recv.read():
                pass
    link.forget(channel)
    channel.abort()


async def _close_later(descriptor: int) -> None:
    try:
        await asyncio.sleep(DETACH_S)
    finally:
        os.close(descriptor)


def _exited(message: Exit) -> Exited:
    return Exited(message.status, message.signal)


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
