"""Probes and what answers them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from qsh.client.addresses import Address, Target
from qsh.client.path_choice import Way
from qsh.client.way_probe import WayProbe, answer_number, probe

TOKEN = b"abcdef"


def answer(data: bytes) -> bytes:
    """Version Negotiation, as a server makes it (RFC 9000 17.2.1)."""
    return b"\x80\0\0\0\0" + data[14:23] + data[5:14] + b"\0\0\0\1"


def test_a_probe_is_of_the_least_size_that_is_answered() -> None:
    assert len(probe(TOKEN, 0)) == 1200
    assert answer_number(answer(probe(TOKEN, 517)), TOKEN) == 517


@pytest.mark.parametrize(
    "data",
    [
        b"",
        answer(probe(TOKEN, 1))[:22],
        answer(probe(b"fedcba", 1)),
        probe(TOKEN, 1),
        b"\0" + answer(probe(TOKEN, 1))[1:],
    ],
    ids=["nothing", "truncated", "another's", "a probe", "a short header"],
)
def test_anything_else_is_no_answer(data: bytes) -> None:
    assert answer_number(data, TOKEN) is None


def test_one_on_the_network() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[tuple[Way, int]] = loop.create_future()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.setblocking(False)
            target = Target("host", server.getsockname()[1], 22)
            way = Way(Address.of("127.0.0.1"))
            sending = WayProbe(target, way, lambda *found: told.set_result(found))
            sending.send(3)
            data, peer = await asyncio.wait_for(loop.sock_recvfrom(server, 2048), 5.0)
            server.sendto(b"not an answer", peer)
            server.sendto(answer(data), peer)
            assert await asyncio.wait_for(told, 5.0) == (way, 3)
            sending.close()
            sending.close()

    asyncio.run(run())
