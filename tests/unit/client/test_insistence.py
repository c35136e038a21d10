"""Packets of a login that are sent again by the client's own clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from qsh.client.insistence import Insistence

if TYPE_CHECKING:
    from qsh.quic import Connection, Endpoint

LIMIT_S = 30.0
SOON_MS = 1.0


class Host:
    """Both an endpoint and its connection."""

    def __init__(self) -> None:
        self.in_login = True
        self.waits = 1
        self.received = 7
        self.again = asyncio.Event()
        self.looked = asyncio.Event()

    def send_again(self) -> None:
        self.again.set()

    def login_over(self) -> None:
        self.in_login = False

    def stats(self) -> dict[str, int]:
        self.looked.set()
        return {"rtt_us": 1000, "received_packets": self.received, "waits": self.waits}

    async def look(self) -> None:
        self.looked.clear()
        await self.looked.wait()


async def shaken(host: Host) -> Insistence:
    found = Insistence(cast("Endpoint", host), SOON_MS)
    found.shaken(cast("Connection", host))
    return found


def test_a_handshake_without_an_answer() -> None:
    async def run() -> None:
        host = Host()
        async with asyncio.timeout(LIMIT_S):
            insistence = Insistence(cast("Endpoint", host), SOON_MS)
            await host.again.wait()
            insistence.stop()
        assert not host.in_login

    asyncio.run(run())


def test_a_flight_that_is_not_acknowledged() -> None:
    async def run() -> None:
        host = Host()
        async with asyncio.timeout(LIMIT_S):
            insistence = await shaken(host)
            await host.again.wait()
            insistence.stop()

    asyncio.run(run())


def test_while_something_comes_nothing_is_sent_again() -> None:
    async def run() -> None:
        host = Host()
        async with asyncio.timeout(LIMIT_S):
            insistence = await shaken(host)
            for _ in range(3):
                host.received += 1
                await host.look()
            insistence.stop()
        assert not host.again.is_set()

    asyncio.run(run())


def test_a_server_may_think_for_a_while_but_an_answer_may_be_lost() -> None:
    async def run() -> None:
        host = Host()
        host.waits = 0
        async with asyncio.timeout(LIMIT_S):
            insistence = await shaken(host)
            await host.look()
            await host.look()
            assert not host.again.is_set()
            await host.again.wait()
            insistence.stop()

    asyncio.run(run())
