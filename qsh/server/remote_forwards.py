"""The front's part in what the session host accepts: a stream to the client for each connection of a remote forward, and for
each call of a program to its client's agent or display.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

from qsh.channels.frames import read_frame
from qsh.errors import ChannelError, ProtocolError, StreamReset, TransportError
from qsh.forward.relay import Relay
from qsh.forward.udp_flow import MAX_FLOWS, MAX_PEERS, lead
from qsh.quic import UdpListener
from qsh.server.client_calls import AGENT_REFUSES
from qsh.server.listeners import MAX_LISTENERS
from qsh.server.requests import (
    Accepted,
    Called,
    CallEnded,
    ListenOn,
    ListensOn,
    Released,
    StopListening,
)
from qsh.wire import framing
from qsh.wire.channel import AnswerReader
from qsh.wire.messages import Failed, Listen, Listening, Open, Target, Unlisten

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager
    from typing import Any

    from qsh.quic import Connection, Peer
    from qsh.server.links import HostLink

__all__ = ["RemoteForwards"]

MAX_OPEN: Final = 2048
"""Connections and calls at a time. The host allows fewer; but it is the user's, and descriptors are the front's for all."""
MAX_UNREAD: Final = 256
"""Answers that wait for a client which does not read: then its requests wait too."""
CALL_ANSWER_S: Final = 30.0
"""How long a client may take to answer a call, and a program to say to a display who it is: neither is to wait for the dead."""


class RemoteForwards:
    """Of one connection, after its login."""

    def __init__(
        self,
        connection: Connection,
        host: HostLink,
        while_forward: Callable[[], AbstractContextManager[None]],
        write: Callable[[Listening], asyncio.Future[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """``write`` writes to the control stream."""
        self._connection, self._host, self._while_forward = connection, host, while_forward
        self._write, self._spawn = write, spawn
        self._asked: dict[int, Listen] = {}
        """What the host has not answered yet."""
        self._unwanted: set[int] = set()
        """Those of them that the client has given up meanwhile."""
        self._unread: set[asyncio.Future[None]] = set()
        self._udp: dict[int, list[UdpListener]] = {}
        self._open = 0
        host.listening = self._from_host

    async def request(self, message: Listen | Unlisten) -> None:
        """Of the client. Returns when the next one may come."""
        with contextlib.suppress(ChannelError):
            if isinstance(message, Unlisten):
                self._stop(message.listener)
            else:
                self._listen(message)
        while len(self._unread) >= MAX_UNREAD:
            await asyncio.wait(self._unread, return_when=asyncio.FIRST_COMPLETED)

    def _listen(self, message: Listen) -> None:
        """The front knows the number as long as the host does, or longer: datagrams come to sockets of its own."""
        number = message.listener
        if number in self._asked or number in self._udp:
            self._tell(Listening(number, 0, "bad-channel", "there is such a listener already"))
        elif len(self._asked) >= MAX_LISTENERS:
            self._tell(Listening(number, 0, "resources", "too many forwards"))
        else:
            self._asked[number] = message
            self._host.send(ListenOn(number, message.target, message.udp))

    def _stop(self, number: int) -> None:
        if number in self._asked:  # once it is there, or what comes too late would stay
            self._unwanted.add(number)
            return
        for listener in self._udp.pop(number, ()):
            listener.close()
        self._host.send(StopListening(number))

    def _tell(self, answer: Listening) -> None:
        with contextlib.suppress(TransportError):  # the engine ends
            writing = self._write(answer)
            self._unread.add(writing)
            writing.add_done_callback(self._unread.discard)

    def _from_host(self, message: ListensOn | Accepted | Called, descriptors: list[int]) -> None:
        if isinstance(message, ListensOn):
            self._listens(message, descriptors)
        elif isinstance(message, Accepted):
            request = Open("accepted", origin=message.origin, listener=message.listener)
            self._begin(request, descriptors, Released())
        else:
            call = message.call
            request = Open(call.kind, origin=call.origin, x11=call.x11)
            self._begin(request, descriptors, CallEnded(message.channel, call.kind), CALL_ANSWER_S)
        for descriptor in descriptors:
            os.close(descriptor)

    def _listens(self, message: ListensOn, descriptors: list[int]) -> None:
        number = message.listener
        asked = self._asked.pop(number, None)
        if asked is None:
            return  # nobody has asked
        if asked.udp and not message.code:
            self._tell(self._listens_for_datagrams(asked, message, descriptors))
        else:
            self._tell(Listening(number, message.port, message.code, message.reason))
        if number in self._unwanted:
            self._unwanted.discard(number)
            with contextlib.suppress(ChannelError):
                self._stop(number)

    def _begin(
        self,
        request: Open,
        descriptors: list[int],
        release: Released | CallEnded,
        limit_s: float | None = None,
    ) -> None:
        if descriptors and self._open < MAX_OPEN:
            sock = socket.socket(fileno=descriptors.pop())
            self._open += 1
            self._spawn(self._lead(request, sock, release, limit_s))
        else:
            self._release(release)

    # -- datagrams -----------------------------------------------------------------------------

    def _listens_for_datagrams(
        self, asked: Listen, message: ListensOn, descriptors: list[int]
    ) -> Listening:
        number = message.listener
        try:
            listeners = [
                self._hear(descriptors.pop(), asked.idle_s) for _ in range(len(descriptors))
            ]
        except (OSError, ValueError):
            listeners = []
        if not listeners:
            with contextlib.suppress(ChannelError):
                self._host.send(StopListening(number))
            return Listening(number, 0, "resources", "the server is out of descriptors")
        self._udp[number] = listeners
        for listener in listeners:
            self._spawn(self._serve(number, listener))
        return Listening(number, message.port)

    def _hear(self, descriptor: int, idle_s: int) -> UdpListener:
        sock = socket.socket(fileno=descriptor)
        return UdpListener(self._connection.driver, sock, limit=MAX_PEERS, idle_s=idle_s)

    async def _serve(self, number: int, listener: UdpListener) -> None:
        while (peer := await listener.peer()) is not None:
            if self._host.flows >= MAX_FLOWS:
                listener.forget(peer)
            else:
                self._spawn(self._lead_datagrams(number, listener, peer))

    async def _lead_datagrams(self, number: int, listener: UdpListener, peer: Peer) -> None:
        request = Open("accepted", origin=Target(peer.host, peer.port), listener=number)
        self._host.flows += 1
        try:
            await lead(listener, peer, self._connection, request)
        except (ProtocolError, StreamReset):
            pass  # nothing but this one is concerned
        finally:
            self._host.flows -= 1

    # -- connections ---------------------------------------------------------------------------

    def _release(self, release: Released | CallEnded) -> None:
        with contextlib.suppress(ChannelError):
            self._host.send(release)

    async def _lead(
        self,
        request: Open,
        sock: socket.socket,
        release: Released | CallEnded,
        limit_s: float | None,
    ) -> None:
        try:
            with sock, self._while_forward():
                async with asyncio.timeout(limit_s):
                    stream = await self._connection.open_bi()
                stream.send.begin_write(framing.encode(request))
                relay = Relay(stream, sock)
                relay.begin()
                try:
                    async with asyncio.timeout(limit_s):
                        answer, _ = await read_frame(stream.recv, AnswerReader())
                except BaseException:
                    _turn_away(request, sock)
                    relay.give_up()
                    raise
                if isinstance(answer, Failed):
                    _turn_away(request, sock)
                    relay.give_up()
                else:
                    await relay.run()
        except (ProtocolError, StreamReset, TimeoutError):
            pass  # nothing but this one is concerned
        finally:
            self._open -= 1
            self._release(release)


def _turn_away(request: Open, sock: socket.socket) -> None:
    """An agent's caller, who has asked by now if the client is not very near, gets the agent's own refusal."""
    if request.kind == "agent":
        with contextlib.suppress(OSError):
            sock.send(AGENT_REFUSES, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
