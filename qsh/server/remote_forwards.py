"""The front's part in remote forwards: a stream to the client for each connection that the session host has accepted."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from qsh.channels.frames import read_frame
from qsh.errors import ChannelError, ProtocolError, StreamReset
from qsh.forward.relay import Relay
from qsh.server.requests import Accepted, ListenOn, ListensOn, Released, StopListening
from qsh.wire import framing
from qsh.wire.channel import AnswerReader
from qsh.wire.messages import Failed, Listen, Listening, Open, Unlisten

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager
    from typing import Any

    from qsh.quic import Connection
    from qsh.server.links import HostLink

__all__ = ["RemoteForwards"]


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
        host.listening = self._from_host

    def request(self, message: Listen | Unlisten) -> None:
        """Of the client."""
        with contextlib.suppress(ChannelError):
            if isinstance(message, Listen):
                self._host.send(ListenOn(message.listener, message.target))
            else:
                self._host.send(StopListening(message.listener))

    def _from_host(self, message: ListensOn | Accepted, descriptors: list[int]) -> None:
        if isinstance(message, ListensOn):
            self._tell(Listening(message.listener, message.port, message.code, message.reason))
        elif descriptors:
            sock = socket.socket(fileno=descriptors.pop())
            self._spawn(self._lead(message, sock))
        else:
            self._release()
        for descriptor in descriptors:
            os.close(descriptor)

    def _release(self) -> None:
        with contextlib.suppress(ChannelError):
            self._host.send(Released())

    async def _lead(self, accepted: Accepted, sock: socket.socket) -> None:
        request = Open("accepted", origin=accepted.origin, listener=accepted.listener)
        try:
            with sock, self._while_forward():
                stream = await self._connection.open_bi()
                stream.send.begin_write(framing.encode(request))
                relay = Relay(stream, sock)
                relay.begin()
                try:
                    answer, _ = await read_frame(stream.recv, AnswerReader())
                except BaseException:
                    relay.give_up()
                    raise
                if isinstance(answer, Failed):
                    relay.give_up()
                else:
                    await relay.run()
        except (ProtocolError, StreamReset):
            pass  # nothing but this one is concerned
        finally:
            self._release()
