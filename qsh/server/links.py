"""The front's links to the monitor and to session hosts: packets as awaitables, on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qsh.errors import ChannelError, RemoteProtocolError
from qsh.server.packets import PacketSocket
from qsh.server.requests import (
    Accepted,
    Answers,
    Called,
    ChannelFailed,
    ChannelOpened,
    Connect,
    Connected,
    Counts,
    Dialogue,
    Exited,
    Forget,
    HangUp,
    HostAnswer,
    Identity,
    LeftClient,
    LeftClients,
    ListensOn,
    Local,
    Login,
    MonitorAnswer,
    Moved,
    MoveVerdict,
    NewListener,
    OpenChannel,
    Penalised,
    PenalisedBefore,
    Proofs,
    Prove,
    Questions,
    Rules,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ChildLink", "HostLink", "MonitorLink"]

T = TypeVar("T")

_FAMILIES: Final[tuple[int, ...]] = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
"""Of sockets that a session host gives us; of terminals only the first, whose close never waits (SO_LINGER)."""


class _Link(ABC):
    """A packet socket on the running loop."""

    def __init__(self, sock: socket.socket, kind: Any) -> None:
        self._packets: PacketSocket[Any] = PacketSocket(sock, kind)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)
        self.closed = False

    def send(self, message: Local) -> None:
        """Raises ChannelError when the other side is gone."""
        if self.closed:
            raise ChannelError("the other process is gone")
        try:
            self._packets.send(message)
        except OSError as error:
            self.close()
            raise ChannelError(f"the other process is gone: {error.strerror}") from None
        if self._packets.waiting:
            self._loop.add_writer(self._packets.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            self._packets.flush()
        except OSError:
            self.close()
            return
        if not self._packets.waiting:
            self._loop.remove_writer(self._packets.fileno())

    def _readable(self) -> None:
        try:
            while not self.closed and (received := self._packets.receive()) is not None:
                self._take(*received)
        except (EOFError, OSError, RemoteProtocolError):
            self.close()

    @abstractmethod
    def _take(self, message: Local, descriptors: list[int]) -> None:
        """What the other side has sent. The descriptors are the callee's."""

    @abstractmethod
    def _lost(self) -> None:
        """The other side is gone."""

    def close(self) -> None:
        """Idempotent; whoever waits is told."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._packets.fileno())
        self._loop.remove_writer(self._packets.fileno())
        self._packets.close()
        self._lost()


class MonitorLink(_Link):
    """Requests to the monitor; ``on_lost`` is called when it is gone."""

    def __init__(self, sock: socket.socket, on_lost: Callable[[], None]) -> None:
        super().__init__(sock, MonitorAnswer)
        self._on_lost = on_lost
        self._logins: dict[bytes, asyncio.Future[tuple[Verdict, int]]] = {}
        self._dialogues: dict[bytes, asyncio.Future[int]] = {}
        self._proofs: dict[bytes, Callable[[list[bytes]], None]] = {}
        self._moves: dict[bytes, Callable[[MoveVerdict], None]] = {}
        self.identity: asyncio.Future[Identity] = self._loop.create_future()
        self.left: list[LeftClient] = []
        """Clients of the front before; complete when the identity is known, as the next is."""
        self.penalised: list[Penalised] = []
        self.reloaded: Callable[[NewListener | Rules | Identity, list[int]], None] | None = None
        """Gets what a configuration that was read again brings, and takes the descriptors over."""

    async def login(self, request: Login) -> tuple[Verdict, int]:
        """The verdict, and the session host's socket if it let the user in, else -1. Raises ChannelError."""
        future: asyncio.Future[tuple[Verdict, int]] = self._loop.create_future()
        self._logins[request.session_id] = future
        try:
            self.send(request)
            return await future
        except BaseException:
            if (answer := _unclaimed(future)) is not None and answer[1] >= 0:
                os.close(answer[1])  # the session host sees the end
            raise
        finally:
            self._logins.pop(request.session_id, None)

    async def dialogue(self, session_id: bytes) -> int:
        """The socket of the login child that judges a login with a method; to be asked for together with the login."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._dialogues[session_id] = future
        try:
            return await future
        except BaseException:
            if (descriptor := _unclaimed(future)) is not None:
                os.close(descriptor)
            raise
        finally:
            self._dialogues.pop(session_id, None)

    def prove(self, session_id: bytes, take: Callable[[list[bytes]], None]) -> None:
        """Ask for signatures of the other host keys; ``take`` gets them. Raises ChannelError."""
        self._proofs[session_id] = take
        self.send(Prove(session_id))

    def moved(
        self, session_id: bytes, client: tuple[str, int], take: Callable[[MoveVerdict], None]
    ) -> None:
        """The client is at another address now; ``take`` gets the judgement. Raises ChannelError."""
        self._moves[session_id] = take
        self.send(Moved(session_id, client))

    def counts(self, counts: Counts) -> None:
        """For the metrics. Raises ChannelError."""
        self.send(counts)

    def penalise(self, penalty: Penalised) -> None:
        """For the next front. Raises ChannelError."""
        self.send(penalty)

    def forget(self, session_id: bytes, *, answered: bool = False) -> None:
        """The connection is gone; ``answered``: while answers of the client's were judged. Raises ChannelError."""
        self._moves.pop(session_id, None)
        self._proofs.pop(session_id, None)
        self.send(Forget(session_id, answered))

    def abandon(self, session_id: bytes) -> None:
        """The client went away: end the wait for its verdict."""
        future = self._logins.get(session_id)
        if future is not None and not future.done():
            future.set_exception(ChannelError("the client is gone"))

    def _take(self, message: Local, descriptors: list[int]) -> None:
        if isinstance(message, Identity) and not self.identity.done():
            self.identity.set_result(message)
        elif isinstance(message, LeftClients):
            self.left += message.clients
        elif isinstance(message, PenalisedBefore):
            self.penalised += message.penalties
        elif isinstance(message, Verdict):
            future = self._logins.get(message.session_id)
            if future is not None and not future.done():
                future.set_result((message, descriptors.pop() if descriptors else -1))
        elif isinstance(message, Dialogue):
            asked = self._dialogues.get(message.session_id)
            if asked is not None and not asked.done() and descriptors:
                asked.set_result(descriptors.pop())
        elif isinstance(message, NewListener | Rules | Identity) and self.reloaded is not None:
            self.reloaded(message, descriptors)
            return
        elif isinstance(message, MoveVerdict):
            if (judged := self._moves.pop(message.session_id, None)) is not None:
                judged(message)
        elif (
            isinstance(message, Proofs)
            and (take := self._proofs.pop(message.session_id, None)) is not None
        ):
            take(message.signatures)
        for descriptor in descriptors:
            os.close(
                descriptor
            )  # the connection went away meanwhile: its session host sees the end

    def _lost(self) -> None:
        for future in self._logins.values():
            if not future.done():
                future.set_exception(ChannelError("the monitor is gone"))
        self._on_lost()


class ChildLink(_Link):
    """A login child's questions."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(socket.socket(fileno=descriptor), Questions)
        self._asked: asyncio.Queue[Questions | None] = asyncio.Queue()

    async def questions(self) -> Questions | None:
        """The next; None: there are no more."""
        return await self._asked.get()

    def answer(self, answers: list[bytearray]) -> None:
        """Raises ChannelError."""
        self.send(Answers(answers))

    def _take(self, message: Local, descriptors: list[int]) -> None:
        _close_all(descriptors)
        if isinstance(message, Questions):
            self._asked.put_nowait(message)

    def _lost(self) -> None:
        self._asked.put_nowait(None)


class HostLink(_Link):
    """Requests to one session host."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(socket.socket(fileno=descriptor), HostAnswer)
        self._opening: dict[int, asyncio.Future[tuple[ChannelOpened, list[int]]]] = {}
        self._exits: dict[int, asyncio.Future[Exited]] = {}
        self._connecting: dict[int, asyncio.Future[int]] = {}
        self.listening: Callable[[ListensOn | Accepted | Called, list[int]], None] | None = None
        """Gets what is about remote forwards, and calls of programs, and takes the descriptors over."""
        self.flows = 0
        """UDP flows that the connection has."""
        self._attaching: set[int] = set()
        """Those of ``_opening`` that ask for a terminal which was there before."""
        self.lost: asyncio.Future[None] = self._loop.create_future()

    async def open(self, request: OpenChannel) -> tuple[ChannelOpened, list[int]]:
        """Descriptors of the started program's input and output. Raises ChannelError.

        A cancelled one hangs up a program, but leaves a terminal to the next client: who wants it gone says so before.
        """
        future: asyncio.Future[tuple[ChannelOpened, list[int]]] = self._loop.create_future()
        self._opening[request.channel] = future
        self._exits[request.channel] = self._loop.create_future()
        if request.kind == "attach":
            self._attaching.add(request.channel)
        try:
            self.send(request)
            answer, descriptors = await future
        except BaseException:
            self._exits.pop(request.channel, None)
            if (opened := _unclaimed(future)) is not None:
                for descriptor in opened[1]:
                    os.close(descriptor)
                if not opened[0].terminal:
                    self.hang_up(request.channel)
            raise
        finally:
            self._opening.pop(request.channel, None)
            self._attaching.discard(request.channel)
        return answer, descriptors

    async def connect(self, request: Connect) -> int:
        """A socket that is connected with a forward's target. Raises ChannelError. A cancelled one ends the attempt."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._connecting[request.channel] = future
        try:
            self.send(request)
            return await future
        except BaseException:
            if (descriptor := _unclaimed(future)) is not None:
                os.close(descriptor)
            elif not future.done() or future.cancelled():
                self.hang_up(request.channel)
            raise
        finally:
            self._connecting.pop(request.channel, None)

    async def exited(self, channel: int) -> Exited:
        """How the channel's program ended. Raises ChannelError when its session host is gone."""
        try:
            return await self._exits[channel]
        finally:
            self._exits.pop(channel, None)

    def forget(self, channel: int) -> None:
        """Nobody will ask how the channel's program ended."""
        self._exits.pop(channel, None)

    def hang_up(self, channel: int) -> None:
        """Nobody waits for the channel's program any more."""
        self.forget(channel)
        with contextlib.suppress(ChannelError):
            self.send(HangUp(channel))

    def _take(self, message: Local, descriptors: list[int]) -> None:
        if not _are_right(message, descriptors):
            _close_all(descriptors)
            descriptors = []
        if isinstance(message, ChannelOpened):
            future = self._opening.get(message.channel)
            leave = message.channel in self._attaching
            if len(descriptors) < 2:
                self._fail(message.channel, "resources", "the server is out of descriptors")
            elif future is not None and not future.done():
                future.set_result((message, descriptors))
                return
            else:
                leave = message.terminal  # for its next client
            if not leave:
                with contextlib.suppress(ChannelError):
                    self.send(HangUp(message.channel))  # it runs for nobody
        elif isinstance(message, Connected):
            self._take_socket(message.channel, descriptors)
        elif isinstance(message, ListensOn | Accepted | Called) and self.listening is not None:
            self.listening(message, descriptors)
            return
        elif isinstance(message, ChannelFailed):
            self._fail(message.channel, message.code, message.reason, message.detail)
        elif isinstance(message, Exited):
            exited = self._exits.get(message.channel)
            if exited is not None and not exited.done():
                exited.set_result(message)
        for descriptor in descriptors:
            os.close(descriptor)

    def _take_socket(self, channel: int, descriptors: list[int]) -> None:
        connecting = self._connecting.get(channel)
        if not descriptors:
            self._fail(channel, "resources", "the server is out of descriptors")
        elif connecting is not None and not connecting.done():
            connecting.set_result(descriptors.pop(0))

    def _fail(self, channel: int, code: str, reason: str, detail: str = "") -> None:
        future: asyncio.Future[Any] | None = self._opening.get(channel)
        future = self._connecting.get(channel) if future is None else future
        if future is not None and not future.done():
            future.set_exception(ChannelError(reason or code, code=code, detail=detail))

    def _lost(self) -> None:
        error = ChannelError("the session host is gone", code="session-lost")
        waiting: list[asyncio.Future[Any]] = [
            *self._opening.values(),
            *self._connecting.values(),
            *self._exits.values(),
        ]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                with contextlib.suppress(ChannelError):
                    future.exception()  # may be nobody's business any more
        if not self.lost.done():
            self.lost.set_result(None)


def _are_right(message: Local, descriptors: list[int]) -> bool:
    """Whether they are sockets, where sockets are due. They may come from any program of the user's, which still has them and may
    take O_NONBLOCK off: that makes all but sockets block the front, and with it everybody.
    """
    families = _FAMILIES
    if isinstance(message, ChannelOpened):
        if not message.terminal:
            return True
        families = _FAMILIES[:1]
    return all(_family(descriptor) in families for descriptor in descriptors)


def _family(descriptor: int) -> int | None:
    """Of a socket. Its mode does not tell: O_PATH has that, too."""
    with contextlib.suppress(OSError):
        sock = socket.socket(fileno=descriptor)
        sock.detach()
        return sock.family
    return None


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _unclaimed(future: asyncio.Future[T]) -> T | None:
    """A result that came just as its waiter was cancelled."""
    if future.done() and not future.cancelled() and future.exception() is None:
        return future.result()
    return None
