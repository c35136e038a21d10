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
from qsh.errors import ChannelError, ProtocolError, StreamReset
from qsh.forward.relay import Relay
from qsh.forward.udp_flow import MAX_FLOWS, MAX_PEERS, lead
from qsh.quic import UdpListener
from qsh.server.client_calls import AGENT_REFUSES
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

CALL_ANSWER_S: Final = 30.0
"""How long a client may take to answer a call, and a program to say to a display who it is: neither is to wait for the dead."""


class RemoteForwards:
    """Of one connection, after its login."""

    def __init__(
        self,
        connection: Connection,
        host: HostLink,
        while_forward: Callable[[], AbstractContextManager[None]],
        tell: Callable[[Listening], object],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """``tell`` writes to the control stream."""
        self._connection, self._host, self._while_forward = connection, host, while_forward
        self._tell, self._spawn = tell, spawn
        self._idle_s: dict[int, int] = {}
        """Of UDP listeners that the host was asked for."""
        self._udp: dict[int, list[UdpListener]] = {}
        host.listening = self._from_host

    def request(self, message: Listen | Unlisten) -> None:
        """Of the client."""
        with contextlib.suppress(ChannelError):
            if isinstance(message, Listen):
                if message.udp:
                    self._idle_s.setdefault(message.listener, message.idle_s)
                self._host.send(ListenOn(message.listener, message.target, message.udp))
            else:
                for listener in self._udp.pop(message.listener, ()):
                    listener.close()
                self._host.send(StopListening(message.listener))

    def _from_host(self, message: ListensOn | Accepted | Called, descriptors: list[int]) -> None:
        if isinstance(message, ListensOn) and message.listener in self._idle_s:
            self._listens_for_datagrams(message, descriptors)
        elif isinstance(message, ListensOn):
            self._tell(Listening(message.listener, message.port, message.code, message.reason))
        elif isinstance(message, Accepted):
            request = Open("accepted", origin=message.origin, listener=message.listener)
            self._begin(request, descriptors, Released())
        else:
            call = message.call
            request = Open(call.kind, origin=call.origin, x11=call.x11)
            self._begin(request, descriptors, CallEnded(message.channel, call.kind), CALL_ANSWER_S)
        for descriptor in descriptors:
            os.close(descriptor)

    def _begin(
        self,
        request: Open,
        descriptors: list[int],
        release: Released | CallEnded,
        limit_s: float | None = None,
    ) -> None:
        if descriptors:
            sock = socket.socket(fileno=descriptors.pop())
            self._spawn(self._lead(request, sock, release, limit_s))
        else:
            self._release(release)

    # -- datagrams -----------------------------------------------------------------------------

    def _listens_for_datagrams(self, message: ListensOn, descriptors: list[int]) -> None:
        """The first answer about this number: a second request for it has the host's refusal as its answer."""
        number = message.listener
        if number in self._udp or message.code:
            if number not in self._udp:
                del self._idle_s[number]
            self._tell(Listening(number, 0, message.code, message.reason))
            return
        idle_s = self._idle_s[number]
        try:
            listeners = [self._hear(descriptors.pop(), idle_s) for _ in range(len(descriptors))]
        except (OSError, ValueError):
            listeners = []
        if not listeners:
            del self._idle_s[number]
            with contextlib.suppress(ChannelError):
                self._host.send(StopListening(number))
            self._tell(Listening(number, 0, "resources", "the server is out of descriptors"))
            return
        self._udp[number] = listeners
        for listener in listeners:
            self._spawn(self._serve(number, listener))
        self._tell(Listening(number, message.port))

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
            self._release(release)


def _turn_away(request: Open, sock: socket.socket) -> None:
    """An agent's caller, who has asked by now if the client is not very near, gets the agent's own refusal."""
    if request.kind == "agent":
        with contextlib.suppress(OSError):
            sock.send(AGENT_REFUSES)
