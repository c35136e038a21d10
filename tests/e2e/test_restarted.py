"""A qshd that was killed and started again: what its clients are told, and when (docs/architecture.md 2.5)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from qsh.errors import ConnectionLost
from tests.support.live_server import LiveServer
from tests.support.raw_client import raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 20.0
"""Far below the idle timeout, which is what would end these connections otherwise."""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


def test_the_next_packet_is_answered_with_a_reset(server: LiveServer) -> None:
    """Nothing of the first one is left but its host key."""

    async def run() -> str:
        async with raw_client(server.port, server.host_key) as client:
            await client.say()
            await client.hear()
            server.kill()
            server.start()
            with contextlib.suppress(ConnectionLost):  # it may have asked by itself
                await client.control.send.write(b"anybody there?" + bytes(64))
            closed = await asyncio.wait_for(client.closed(), LIMIT_S)
            return closed.kind

    assert asyncio.run(run()) == "reset-by-peer"


def test_another_server_there_says_nothing_of_it(server: LiveServer) -> None:
    """The control: with another host key it is not the same server, and must not be able to end connections of the first."""

    async def run() -> None:
        async with raw_client(server.port, server.host_key) as client:
            await client.say()
            await client.hear()
            server.kill()
            server.host_key = server._key("host_key")
            server.start()
            await client.control.send.write(b"anybody there?" + bytes(64))
            async with raw_client(server.port, server.host_key) as second:  # it answers
                await second.say()
                await second.hear()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.closed(), 1.0)

    asyncio.run(run())
