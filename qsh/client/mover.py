"""What keeps a connection that a byte stream carries on the best path there is (docs/protocol.md 15): UDP as soon as it works,
else another stream where one broke.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qsh.client.addresses import Address, udp_socket
from qsh.client.log import log
from qsh.client.udp_watch import udp_answers
from qsh.errors import ConnectError, QshError

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from qsh.client.addresses import Target
    from qsh.quic import Closed, Connection

__all__ = ["Dialed", "Mover", "Patience"]

_LOOK_S: Final = 10.0
"""How often UDP is tried beside a stream. One packet each way."""
_PROOF_S: Final = 3.0
"""After a move to UDP something must be heard within this, or the connection goes back to its stream."""
_REDIAL_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Waits before a stream that broke is replaced."""
_FIRST_LOOK_S: Final = 2.0
_LONGEST_S: Final = 300.0
_GROWTH: Final = 4
_MEMORY_S: Final = 600.0


class Patience:
    """How long a stream is kept before UDP is tried again: longer each time that UDP has worked for a while only. No I/O."""

    def __init__(self) -> None:
        self._failures: deque[float] = deque(maxlen=8)

    def failed(self, now: float) -> None:
        """UDP carries nothing any more."""
        self._failures.append(now)

    def look_s(self, now: float) -> float:
        """From then to the first try."""
        recent = sum(1 for at in self._failures if now - at < _MEMORY_S)
        return min(_LONGEST_S, _FIRST_LOOK_S * float(_GROWTH ** max(0, recent - 1)))


class Dialed(NamedTuple):
    """A byte stream to the host, at whose other end somebody takes packets."""

    sock: socket.socket
    carried: tuple[str, str]
    """For people: what it is, and to where."""


class Mover:
    """Of one connection, which is in a stream when :meth:`run` begins."""

    def __init__(
        self,
        target: Target,
        connection: Connection,
        dial: Callable[[], Awaitable[Dialed]],
        patience: Patience,
        *,
        moves: bool,
    ) -> None:
        """``dial`` makes another stream; ``moves``: to UDP, when that works."""
        self._target, self._connection, self._dial = target, connection, dial
        self._moves, self._patience = moves, patience
        self._endpoint = connection.endpoint
        host, self._port = connection.remote_address
        self._address = Address.of(host)
        self.task: asyncio.Task[None] | None = None
        """Ends with the connection."""
        self._left = False
        """The stream was left for UDP, which carries nothing."""

    async def run(self, ended: asyncio.Future[tuple[str, bytes]]) -> None:
        """Until the connection is gone, or has moved to UDP. ``ended``: the stream."""
        closed = asyncio.ensure_future(self._connection.closed())
        loop = asyncio.get_running_loop()
        look_s = self._patience.look_s(loop.time())
        self._endpoint.minded = True
        try:
            while not closed.done():
                waited: set[asyncio.Future[Any]] = {closed, ended}
                await asyncio.wait(waited, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                if closed.done():
                    return
                if self._moves and await self._udp_answers() and await self._move():
                    return
                look_s = max(_LOOK_S, self._patience.look_s(loop.time()))
                if ended.done() or self._left:
                    ended = await self._redial(closed) or ended
                    self._left = False
        except QshError as error:
            log.debug(f"transport: {error}")
        finally:
            self._endpoint.minded = False
            closed.cancel()

    async def _udp_answers(self) -> bool:
        return await udp_answers(self._target, self._address, self._port)

    async def _move(self) -> bool:
        """Go on over UDP; False: it did not carry, and all is as before."""
        with udp_socket(self._target, self._address.family) as sock:
            heard = self._connection.stats()["received_packets"]
            before = self._endpoint.carried or ("tcp", "")
            self._endpoint.rebind(sock)
            self._left = True
        log.debug("UDP works: moving the connection there")
        await asyncio.sleep(_PROOF_S)
        if self._connection.stats()["received_packets"] > heard:
            if self._endpoint.moved is not None:
                host, port = self._connection.remote_address
                self._endpoint.moved(" ".join(before), f"udp {host}:{port}")
            return True
        self._patience.failed(asyncio.get_running_loop().time())
        log.debug(f"nothing comes over UDP: back to {before[0].upper()}")
        return False

    async def _redial(
        self, closed: asyncio.Future[Closed]
    ) -> asyncio.Future[tuple[str, bytes]] | None:
        """Another stream in place of one that broke."""
        for wait_s in _REDIAL_S:
            await asyncio.wait({closed}, timeout=wait_s)
            if closed.done():
                return None
            try:
                dialed = await self._dial()
            except ConnectError as error:
                log.debug(str(error))
                continue
            with dialed.sock as sock:
                self._endpoint.rebind_stream(sock.fileno(), self._connection.remote_address)
            self._endpoint.carried = dialed.carried
            return self._endpoint.stream_ended()
        return None
