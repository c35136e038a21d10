"""Streams of packets at the front: others get their turn, whoever else wants to be accepted."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

from qsh.server.front_streams import FrontStreams, take_streams


class Streams:
    """Stands for an endpoint."""

    def __init__(self) -> None:
        self.taken = 0
        self.kept: list[int] = []
        self.open_streams = 1

    def add_stream(self, fd: int, peer: tuple[str, int]) -> asyncio.Future[Any]:
        self.taken += 1
        return asyncio.get_running_loop().create_future()

    def keep_streams(self, numbers: Any) -> None:
        self.kept = sorted(numbers)


def test_others_get_their_turn_while_many_wait_to_be_accepted() -> None:
    async def main() -> None:
        endpoint: Any = Streams()
        with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
            clients = [socket.create_connection(listener.getsockname()) for _ in range(50)]
            seen: list[int] = []
            taking = asyncio.ensure_future(
                take_streams(listener, endpoint, lambda _: True, lambda *_: None, lambda _: None)
            )
            while endpoint.taken < len(clients):
                await asyncio.sleep(0)
                seen.append(endpoint.taken)
            taking.cancel()
            for client in clients:
                client.close()
        assert len(set(seen)) > len(clients) / 2

    asyncio.run(main())


def test_each_endpoint_keeps_what_its_own_connections_are_on() -> None:
    one, other = Streams(), Streams()
    streams: Any = FrontStreams()
    for number, (endpoint, stream) in enumerate(((one, 3), (one, 4), (other, 3), (one, 0))):
        streams.begin(number, SimpleNamespace(endpoint=endpoint, stream=stream))
    streams.look([one, other])
    assert (one.kept, other.kept) == ([0, 3, 4], [3])
    streams.connected(0, SimpleNamespace(on_stream=7))
    streams.end(1)
    streams.end(9)
    streams.look([one, other])
    assert (one.kept, other.kept) == ([0, 7], [3])
