"""PerSourceMaxStartups and QshRetryThreshold with a real qshd (MaxStartups: test_server_hostile.py)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.errors import ConnectError
from tests.e2e.test_hostile_network import first_flight
from tests.support.forged_initial import hello_of
from tests.support.raw_client import raw_client
from tests.support.watched import LIMIT_S, Watched, attempt, somebody_else, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.raw_client import RawClient

GREEDY = "127.0.0.9"
RETRY = 0xF0


def test_one_source_may_not_take_all(tmp_path: Path) -> None:
    server = Watched(tmp_path, "PerSourceMaxStartups 2\nMaxStartups 100\n")
    try:

        async def story(server: Watched, client: RawClient) -> None:
            async with contextlib.AsyncExitStack() as stack:

                async def one_more() -> RawClient:
                    another = raw_client(server.port, server.host_key, source=GREEDY)
                    return await stack.enter_async_context(another)

                mine = [await one_more() for _ in range(2)]
                with pytest.raises(ConnectError) as refused:
                    await one_more()
                del mine
                assert refused.value.kind == "refused"
                await somebody_else(server, client)

        attempt(server, story)

        async def again() -> None:
            async with asyncio.timeout(LIMIT_S):
                async with raw_client(server.port, server.host_key, source=GREEDY) as client:
                    await somebody_else(server, client)

        until(lambda: server.idle)
        asyncio.run(again())
    finally:
        server.stop()


def test_addresses_are_proven_when_it_is_crowded(tmp_path: Path) -> None:
    """From QshRetryThreshold on a first packet is answered with a Retry, and only who returns its token goes on."""
    server = Watched(tmp_path, "QshRetryThreshold 2\nLoginGraceTime 60\n")
    try:
        hello = hello_of(asyncio.run(first_flight(server)))
        assert hello is not None
        with contextlib.ExitStack() as stack:
            answers = []
            for _ in range(4):
                udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                udp.connect(("127.0.0.1", server.port))
                udp.settimeout(LIMIT_S)
                for datagram in hello.flight():
                    udp.send(datagram)
                answers.append((udp, udp.recv(65536)))
            kinds = [answer[0] & 0xF0 == RETRY for _, answer in answers]
            assert kinds == [False, False, True, True]
            udp, retry = answers[2]
            at = 6 + retry[5]
            name, token = retry[at + 1 : at + 1 + retry[at]], retry[at + 1 + retry[at] : -16]
            assert len(retry) < len(hello.flight()[0])
            for datagram in hello.flight(hello.begin_again(name), token):
                udp.send(datagram)
            while (answer := udp.recv(65536))[0] & 0xF0 == RETRY:
                pass  # of the second datagram of the first flight
            assert len(answer) > 1000, "the server's hello"
        attempt(server, somebody_else)
    finally:
        server.stop()
