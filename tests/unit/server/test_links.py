"""The front's links: what is left when somebody goes away."""

from __future__ import annotations

import asyncio

import pytest

from qsh.errors import ChannelError
from qsh.server.links import HostLink, MonitorLink
from qsh.server.packets import packet_pair
from qsh.server.requests import Login


def test_a_client_that_leaves_ends_the_wait_for_its_verdict() -> None:
    async def run() -> None:
        ours, theirs = packet_pair()
        link = MonitorLink(ours, lambda: None)
        request = Login(bytes(46), "anna", ("::1", 1), ("::1", 2))
        waiting = asyncio.create_task(link.login(request))
        await asyncio.sleep(0)
        link.abandon(bytes(46))
        link.abandon(bytes(45) + b"x")
        with pytest.raises(ChannelError, match="the client is gone"):
            await waiting
        link.close()
        theirs.close()

    asyncio.run(run())


def test_a_hang_up_leaves_nothing() -> None:
    async def run() -> None:
        ours, theirs = packet_pair()
        link = HostLink(ours.detach())
        link._exits[4] = asyncio.get_running_loop().create_future()
        link.hang_up(4)
        assert not link._exits
        link.close()
        link.hang_up(4)
        theirs.close()

    asyncio.run(run())
