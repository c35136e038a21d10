"""Keeping one connection alive: looks at it when the learner says so, sends its pings, and remembers what it has learned."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Final

from qsh.client import network
from qsh.client.keep_alive import KeepAlive, Traffic
from qsh.client.log import log
from qsh.clock import boot_s
from qsh.errors import QshError

if TYPE_CHECKING:
    from qsh.client.link import Link

__all__ = ["keep_alive"]

PING: Final = b"\x02"
"""A datagram of a flow that there cannot be (docs/protocol.md 17.1)."""


async def keep_alive(link: Link) -> None:
    """Until the connection is lost."""
    host = link.connection.remote_address[0]
    here = network.mark(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    keeper = KeepAlive(network.load(here), boot_s(), _traffic(link))
    while not link.lost.done():
        wait_s = max(0.0, keeper.deadline - boot_s())
        await asyncio.wait({link.lost}, timeout=wait_s)
        if link.lost.done():
            return
        before = keeper.learned
        ping = keeper.look(boot_s(), _traffic(link))
        if keeper.learned != before:
            log.debug(f"keep-alive: silence of {keeper.learned.next_s:.0f} s from now on", 2)
            network.save(here, keeper.learned)
        if ping:
            with contextlib.suppress(QshError, ValueError):
                link.connection.send_datagram(PING)


def _traffic(link: Link) -> Traffic:
    stats = link.connection.stats()
    return Traffic(
        stats["sent_bytes"],
        stats["received_packets"],
        stats["path_challenges"],
        link.history.migrations,
    )
