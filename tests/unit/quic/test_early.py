"""A connection begun before asyncio and its driver are there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from qsh.errors import ConnectError
from qsh.quic import Driver, Early, Endpoint, client_socket

from .engine import ALL_SCHEMES, Pair, engine_pair, spki


def begin(port: int, **options: Any) -> Early:
    with client_socket("127.0.0.1") as udp:
        early = Early(udp, **options)
    early.connect("127.0.0.1", port, server_name="localhost", schemes=ALL_SCHEMES)
    return early


def test_the_outcome_waits_for_whoever_takes_over() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            early = begin(pair.port)
            server = await pair.answer()
            await server.handshake_done()  # over before there is a driver
            async with Driver(early=early) as driver:
                await asyncio.sleep(0.05)  # the driver has seen it before it is asked for
                endpoint, outcome = Endpoint.adopt(driver, early)
                client = await outcome
                assert client.session_id == server.session_id
                assert client.peer_key == spki(pair.signing.keys[0])
                assert not client.peer_key_trusted
                await exchange(client.endpoint is endpoint, client, server)

    asyncio.run(main())


async def exchange(same: bool, client: Any, server: Any) -> None:
    assert same
    stream = await client.open_bi()
    await stream.send.write(b"hello")
    other = await server.accept_bi()
    assert await other.recv.read() == b"hello"


def test_a_failure_is_told_as_by_connect() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            early = begin(closed_port(pair), handshake_s=0.3)
            async with Driver(early=early) as driver:
                _, outcome = Endpoint.adopt(driver, early)
                with pytest.raises(ConnectError) as caught:
                    await outcome
                assert caught.value.kind == "timeout"

    asyncio.run(main())


def closed_port(pair: Pair) -> int:
    """A port that does not answer: the client's own."""
    return pair.client_end.local_address[1]


def test_adopting_needs_the_driver_made_for_it() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            with pytest.raises(ValueError, match="not made with"):
                Endpoint.adopt(pair.driver, begin(pair.port))

    asyncio.run(main())


def test_asyncio_is_not_needed() -> None:
    code = "import sys; from qsh.quic import Early; sys.exit('asyncio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
