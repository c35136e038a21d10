"""-L udp/: sockets here whose datagrams go to the host, a flow for each peer (docs/protocol.md 12)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsh.client.forward_targets import shown, target_of
from qsh.client.log import log
from qsh.client.text import visible
from qsh.errors import QshError
from qsh.forward.failure import open_failed
from qsh.forward.udp_flow import MAX_PEERS, described, lead
from qsh.quic import UdpListener
from qsh.wire.messages import Failed, Open, Target

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Sequence

    from qsh.client.channel_numbers import ChannelNumbers
    from qsh.client.link import Link
    from qsh.config.forwards import Forward
    from qsh.quic import Peer

__all__ = ["UdpForwards"]

MAX_UNDER_WAY: Final = 512
"""Flows of all sockets: half of the streams that the host allows."""


class UdpForwards:
    """:meth:`add` sockets, then :meth:`use` each connection to the host."""

    def __init__(self, numbers: ChannelNumbers, idle_s: int) -> None:
        self._numbers, self._idle_s = numbers, idle_s
        self._sockets: list[tuple[Forward, socket.socket]] = []
        self._link: Link | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = 0
        self._complained: set[Forward] = set()
        """Forwards of which an error was told: the next packet would have the same."""

    def add(self, forward: Forward, sockets: Sequence[socket.socket]) -> None:
        """Bound sockets of one forward."""
        self._sockets += ((forward, sock) for sock in sockets)

    def use(self, link: Link) -> None:
        """New flows go over this connection. Those of the last one have ended with it."""
        self._link = link
        sockets, self._sockets = self._sockets, []
        for forward, sock in sockets:
            listener = UdpListener(
                link.connection.driver, sock, limit=MAX_PEERS, idle_s=self._idle_s
            )
            self._spawn(self._serve(forward, listener))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error(f"qsh: UDP forward: {type(error).__name__}: {error}")

    async def _serve(self, forward: Forward, listener: UdpListener) -> None:
        while (peer := await listener.peer()) is not None:
            link = self._link
            if link is None or link.lost.done() or self._flows >= MAX_UNDER_WAY:
                listener.forget(
                    peer
                )  # what is late is worth nothing: nobody waits for the next connection
            else:
                self._spawn(self._lead(forward, listener, peer, link))

    async def _lead(self, forward: Forward, listener: UdpListener, peer: Peer, link: Link) -> None:
        target, origin = target_of(forward), Target(peer.host, peer.port)
        text = (
            f"direct-udp: listening port {forward.listen_port} for {shown(target)}, "
            f"datagrams from {shown(origin)}"
        )
        self._flows += 1
        try:
            with self._numbers.one(text, holds=False) as number:
                log.debug(f"channel {number}: {text}")
                request = Open("udp", target=target, origin=origin)
                end = await lead(listener, peer, link.connection, request)
                if isinstance(end, Failed):
                    self._complain(forward, number, end)
                elif end is not None:
                    log.debug(f"channel {number}: {described(end)}")
        except QshError as error:
            log.debug(f"UDP flow: {error}", 2)
        finally:
            self._flows -= 1

    def _complain(self, forward: Forward, number: int, failed: Failed) -> None:
        text = f"channel {number}: {open_failed(failed.code, visible(failed.reason))}"
        if forward in self._complained:
            log.debug(text)
        else:
            self._complained.add(forward)
            log.error(text)
