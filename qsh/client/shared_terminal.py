"""A terminal over a shared connection: this process keeps it, as over a connection of its own.

The master hands out the channel's stream and its datagrams as two sockets, spliced natively, so no key passes through its Python.
What a RemoteTerminal asks of a link and a channel is answered from them here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

from qsh.client.connection_info import path_lines
from qsh.client.control_socket import ControlSocket
from qsh.client.log import log
from qsh.client.login import plan_of
from qsh.client.session import Ended, Session
from qsh.client.text import lost_text, visible
from qsh.errors import ChannelError, ConnectionLost, QshError, RemoteProtocolError, StreamReset
from qsh.wire import flow
from qsh.wire.messages import Opened, offering
from qsh.wire.sharing import (
    Done,
    Exited,
    FromMaster,
    HangUp,
    Lost,
    PathReport,
    Refused,
    SessionOpened,
    SessionRequest,
    UseSsh,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.channels.session import ClientChannel
    from qsh.client.link import Link
    from qsh.client.roaming import Roaming
    from qsh.client.sharing import SharedClientProcess
    from qsh.config.options import ClientOptions
    from qsh.wire.messages import Message, Open

__all__ = ["run_terminal"]

FAILED: Final = 255
READ_BYTES: Final = 65536
DATAGRAM_BYTES: Final = 65536
_NUMBER: Final = 0
"""Of the channel, here: the real one is the master's affair."""
_MASTER_GONE: Final = "closed-locally"
"""No other connection will mend that (resume.py)."""
_AGAIN_S: Final = 20.0
"""How long a master may take for another connection."""


def run_terminal(process: SharedClientProcess) -> int | None:
    """The exit status; None: the master cannot, and nothing was begun."""
    loop = asyncio.new_event_loop()
    outcome = loop.run_until_complete(_run(process))
    process.control.sock.setblocking(True)
    if isinstance(outcome, Refused):
        return process.refused(outcome)
    if isinstance(outcome, UseSsh):
        process.become_ssh(outcome.line)
    if outcome is None:
        return process.gone()
    if outcome != FAILED:
        process.linger()
    return outcome


async def _run(process: SharedClientProcess) -> int | Refused | UseSsh | None:
    """The exit status, or what came instead of a terminal; None: the master is gone."""
    options = process.options
    sock = process.control.sock = socket.socket(fileno=process.control.sock.detach())
    master = _Master(ControlSocket(sock, FromMaster), options)
    session = Session(plan_of(options, None), master.reopen)
    session.shared = True
    link = master.request(session.open_message())
    session.load()
    answer = await link.answer
    if not isinstance(answer, SessionOpened):
        return None if isinstance(answer, Exited) else answer
    process.begun()
    session.catch_signals()
    status = FAILED
    try:
        if not answer.terminal:
            raise ChannelError("the server has no running terminals")
        status = await session.run(link, link.open(answer))  # type: ignore[arg-type]
    except Ended:
        pass
    except ConnectionLost as error:
        if error.kind == _MASTER_GONE:
            log.debug("Control master terminated unexpectedly", 2)
        else:
            log.info(lost_text(options.hostname, error))
    except QshError as error:
        log.error(f"qsh: {visible(str(error))}")
    master.leave(detached=session.farewell is not None)
    log.info(session.farewell or f"Shared connection to {options.hostname} closed.")
    return status


class _Master:
    """The socket to it: its messages go to the link that they are about."""

    def __init__(self, control: ControlSocket, options: ClientOptions) -> None:
        self._control, self._options = control, options
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._link: _SharedLink | None = None
        self._gone = False
        control.sock.setblocking(False)
        self._loop.add_reader(control.fileno(), self._readable)

    def request(self, message: Open) -> _SharedLink:
        """Ask for a terminal, instead of what was asked for before."""
        self._number = (self._number + 1) & 0xFFFF
        link = self._link = _SharedLink()
        message = offering(message, agent=bool(self._options.forward_agent), x11=None)
        request = SessionRequest(message, self._number, bool(self._options.forward_x11))
        try:
            self._control.send(request)
        except OSError:
            self._end()
        return link

    async def reopen(self, message: Callable[[], Open]) -> tuple[Link, ClientChannel]:
        """Over another connection, which the master makes if need be. Raises QshError."""
        link = self.request(message())
        if self._gone:
            raise ConnectionLost("the master is gone", kind=_MASTER_GONE)
        try:
            answer = await asyncio.wait_for(asyncio.shield(link.answer), _AGAIN_S)
        except TimeoutError:
            raise ConnectionLost("no answer", kind="timeout") from None
        if isinstance(answer, Refused):
            raise ChannelError(answer.reason or answer.code, code=answer.code)
        if isinstance(answer, Exited):
            raise ConnectionLost(answer.error)
        if not isinstance(answer, SessionOpened) or not answer.terminal:
            raise ConnectionLost("the master is gone", kind=_MASTER_GONE)
        return link, link.open(answer)  # type: ignore[return-value]

    def _readable(self) -> None:
        try:
            more = self._control.receive()
            while (message := self._control.next()) is not None:
                self._take(message)
        except BlockingIOError:
            return
        except RemoteProtocolError as error:
            log.debug(f"control socket: {visible(str(error))}")
            more = False
        if not more:
            self._end()

    def _take(self, message: Message) -> None:
        descriptors: list[int] = []
        if isinstance(message, SessionOpened) and message.terminal:
            descriptors = self._control.take_descriptors(2) or []
        link = self._link
        if link is not None and getattr(message, "request", self._number) == self._number:
            link.take(message, descriptors)
            return
        for descriptor in descriptors:  # of what was asked for before
            os.close(descriptor)

    def _end(self) -> None:
        self._gone = True
        self._loop.remove_reader(self._control.fileno())
        if self._link is not None:
            self._link.end(ConnectionLost("the master is gone", kind=_MASTER_GONE))

    def leave(self, *, detached: bool) -> None:
        """Say how it ended: the terminal is over or detached, or is to be hung up."""
        self._loop.remove_reader(self._control.fileno())
        channel = None if self._link is None else self._link.channel
        over = detached or (channel is not None and channel.over)
        if channel is not None:
            channel.close()
        with contextlib.suppress(OSError):
            self._control.send(Done() if over else HangUp())


class _SharedLink:
    """What a terminal needs of a Link and of its connection: for one request."""

    def __init__(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[SessionOpened | Refused | UseSsh | Exited | None]
        self.answer = loop.create_future()
        self.lost: asyncio.Future[ConnectionLost] = loop.create_future()
        self.connection = self
        self.roaming: Roaming | None = None
        """The master's business, as is what follows."""
        self.stranded: Callable[[], None] = lambda: None
        self.channel: _SharedChannel | None = None
        self._descriptors: list[int] = []
        self._path = PathReport(0, 0, 0, 0)

    # -- the master

    def take(self, message: Message, descriptors: list[int]) -> None:
        """A message for this one."""
        if isinstance(message, PathReport):
            self._path = message
        elif isinstance(message, Lost):
            self.end(ConnectionLost(message.reason, kind=message.kind, code=message.code))
        elif isinstance(message, SessionOpened | Refused | UseSsh | Exited):
            self._descriptors = descriptors
            if not self.answer.done():
                self.answer.set_result(message)
            if isinstance(message, Exited):
                self.end(ConnectionLost(message.error))

    def end(self, error: ConnectionLost) -> None:
        """It is lost."""
        if not self.answer.done():
            self.answer.set_result(None)
        if not self.lost.done():
            self.lost.set_result(error)

    def open(self, answer: SessionOpened) -> _SharedChannel:
        """The channel. Raises ChannelError."""
        if len(self._descriptors) != 2:
            raise ChannelError("the master did not pass the terminal's sockets")
        stream, datagrams = (socket.socket(fileno=number) for number in self._descriptors)
        stream.setblocking(False)
        datagrams.setblocking(False)
        self.channel = _SharedChannel(stream, datagrams, answer)
        return self.channel

    # -- as a Link and its connection

    def stats(self) -> dict[str, int]:
        """The latest that the master has told."""
        path = self._path
        return {name: getattr(path, name) for name in PathReport.__struct_fields__}

    def send_datagram(self, data: bytes) -> None:
        """Without the flow's number, which the engine puts in front."""
        found = flow.split(data)
        if self.channel is not None and found is not None:
            with contextlib.suppress(OSError):
                self.channel.datagrams.send(found[1])

    def open_flow(self, number: int, take: Callable[[bytes], None]) -> None:
        """Datagrams go to ``take`` from now on."""
        channel = self.channel
        assert channel is not None  # noqa: S101 - a flow is a channel's

        def readable() -> None:
            try:
                data = channel.datagrams.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(channel.datagrams)
                return
            with contextlib.suppress(QshError):
                take(data)

        self._loop.add_reader(channel.datagrams, readable)

    def information(self) -> str:
        """What the master has told."""
        return "".join(f"{line}\r\n" for line in path_lines(self.stats()))

    def describe_channels(self) -> list[str]:
        """What this process knows of."""
        return [f"#{_NUMBER} session"]

    async def close(self, code: int = 0, reason: bytes = b"") -> None:
        """Give the channel up; the connection is the master's."""
        if self.channel is not None:
            self.channel.close()


class _SharedChannel:
    """What a terminal needs of a ClientChannel, over the sockets that the master handed out."""

    id = _NUMBER

    def __init__(
        self, stream: socket.socket, datagrams: socket.socket, opened: SessionOpened
    ) -> None:
        self.datagrams = datagrams
        self._stream, self._opened = stream, opened
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._finished = False
        self.over = False
        """The host has told the end."""
        self.send = self.recv = self

    async def answer(self) -> Opened:
        """It was there before this was made."""
        return Opened(notices=list(self._opened.notices), terminal=True)

    def ended(self) -> None:
        """Nothing runs that would have to be hung up."""
        self.over = True

    def close(self) -> None:
        """Give the sockets up."""
        for sock in (self._stream, self.datagrams):
            if sock.fileno() < 0:
                continue
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            sock.close()

    # -- as a RecvStream

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """Some bytes; empty at the end."""
        try:
            return await self._loop.sock_recv(self._stream, max_bytes)
        except OSError as error:
            raise StreamReset(os.strerror(error.errno or 0), kind="reset") from None

    # -- as a SendStream

    def put(self, data: bytes) -> None:
        """Send behind what was sent."""
        waiting = bool(self._unsent)
        self._unsent += data
        if not waiting:
            self._write()

    def finish(self) -> None:
        """Half-close behind everything."""
        self._finished = True
        if not self._unsent:
            self._shut_down()

    async def acknowledged(self) -> None:
        """The master has it, and sees to the rest."""

    def _write(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._stream.send(self._unsent, socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            self._loop.add_writer(self._stream, self._write)
            return
        except OSError:
            self._unsent.clear()
        self._loop.remove_writer(self._stream)
        if self._finished:
            self._shut_down()

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_WR)
