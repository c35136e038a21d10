"""Calls of the host's programs: to the agent and to the display of this side (docs/protocol.md 13)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qsh.client.agent_calls import AgentCalls
from qsh.client.log import log
from qsh.client.x11_calls import DisplayCalls
from qsh.wire.messages import offering

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from qsh.client.channel_numbers import ChannelNumbers
    from qsh.client.link import Link
    from qsh.client.server_streams import ServerStreams
    from qsh.config.options import ClientOptions
    from qsh.forward.windows import ReceiveWindow
    from qsh.quic import Stream
    from qsh.wire.messages import Open

__all__ = ["Calls"]


class Calls:
    """What is there to be called is looked for at once."""

    def __init__(
        self, options: ClientOptions, numbers: ChannelNumbers, streams: ServerStreams
    ) -> None:
        self._numbers = numbers
        self._receives: ReceiveWindow | None = None
        self._agent = AgentCalls.of(options)
        self._display = DisplayCalls.of(options)
        if self._agent is not None:
            streams.servers["agent"] = self._serve_agent
        if self._display is not None:
            streams.servers["x11"] = self._serve_display

    def offer(self, message: Open, *, agent: bool = True, x11: bool = True) -> Open:
        """OPEN of a channel whose programs may call what there is of these."""
        agent = agent and self._agent is not None
        display = self._display if x11 else None
        if agent:
            log.debug("Requesting authentication agent forwarding.")
        if display is not None:
            log.debug("Requesting X11 forwarding with authentication spoofing.")
        return offering(message, agent=agent, x11=None if display is None else display.offered)

    def use(self, receives: ReceiveWindow) -> None:
        """Of the connection that calls come by."""
        self._receives = receives

    async def _serve_agent(self, link: Link, stream: Stream, _request: Open) -> None:
        if self._agent is not None:
            with self._numbers.one("agent-connection"):
                await _while_connected(link, self._agent.serve(link, stream))

    async def _serve_display(self, link: Link, stream: Stream, request: Open) -> None:
        assert self._receives is not None  # noqa: S101 - see use()
        if self._display is not None:
            with self._receives.forward(), self._numbers.one("x11-connection"):
                await _while_connected(link, self._display.serve(stream, request))


async def _while_connected(link: Link, work: Coroutine[object, object, None]) -> None:
    """Nobody waits for an agent or a display on behalf of a host that is gone."""
    task = asyncio.ensure_future(work)
    try:
        waited: set[asyncio.Future[Any]] = {task, link.lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        task.cancel()
