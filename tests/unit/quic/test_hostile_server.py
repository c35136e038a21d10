"""A client whose server, or somebody on the way, answers its first packet with what no server says."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from qsh.errors import ConnectError
from qsh.quic import Driver, client_endpoint, client_socket
from tests.support.forged import varint
from tests.support.forged_initial import Initial, crypto

ANSWERS = {
    "the end of the handshake (GHSA-47m2-4cr7-mhcw)": [b"\x1e"],
    "a stream": [b"\x0e\0\0\1x"],
    "a new token": [b"\x07\5token"],
    "an id": [b"\x18\1\0\x08" + bytes(8) + bytes(16)],
    "a frame that there is not": [b"\x3f"],
    "a frame that is cut": [b"\x06\0\x7f\xff"],
    "what is not TLS": [crypto(0, bytes(100))],
    "a hello that is cut": [crypto(0, b"\2\0\0\2\3\3")],
    "far away": [crypto((1 << 62) - 200, bytes(100))],
    "an acknowledgement of what was not sent": [b"\x02" + varint(1 << 30) + b"\0\0\0"],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_no_server_gives(name: str) -> None:
    """The connection fails by its time limit at the latest, and the engine goes on: another one begins."""

    async def dial(driver: Driver, port: int) -> None:
        with client_socket("127.0.0.1") as udp:
            endpoint = client_endpoint(driver, udp)
        try:
            await endpoint.connect(
                "127.0.0.1",
                port,
                server_name="localhost",
                schemes=[0x0807],
                trusted=[],
                timeout_s=0.5,
            )
        finally:
            endpoint.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Driver() as driver:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                server.bind(("127.0.0.1", 0))
                server.setblocking(False)
                for _ in range(2):
                    dialing = asyncio.ensure_future(dial(driver, server.getsockname()[1]))
                    first, client = await loop.sock_recvfrom(server, 65536)
                    made_up = first[6 : 6 + first[5]]
                    at = 6 + first[5]
                    name_of_client = first[at + 1 : at + 1 + first[at]]
                    answer = Initial(name_of_client, os.urandom(8), made_up)
                    await loop.sock_sendto(server, answer.packet(*ANSWERS[name]), client)
                    with pytest.raises(ConnectError):
                        await dialing

    asyncio.run(main())


def test_a_new_version_and_a_retry_that_nobody_has_sealed() -> None:
    """Neither counts: the client waits on for its server."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Driver() as driver:
            with client_socket("127.0.0.1") as udp:
                endpoint = client_endpoint(driver, udp)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                server.bind(("127.0.0.1", 0))
                server.setblocking(False)
                dialing = asyncio.ensure_future(
                    endpoint.connect(
                        *server.getsockname(),
                        server_name="localhost",
                        schemes=[0x0807],
                        trusted=[],
                        timeout_s=1,
                    )
                )
                first, client = await loop.sock_recvfrom(server, 65536)
                at = 6 + first[5]
                name_of_client = first[at : at + 1 + first[at]]
                ids = name_of_client + b"\x08" + bytes(8)
                await loop.sock_sendto(server, b"\xf0\0\0\0\1" + ids + b"token" + bytes(16), client)
                negotiation = b"\x80\0\0\0\0" + name_of_client + first[5:at] + b"\0\0\0\1"
                await loop.sock_sendto(server, negotiation, client)  # it speaks that already
                with pytest.raises(ConnectError) as found:
                    await dialing
                assert found.value.kind == "timeout"
            endpoint.close()

    asyncio.run(main())
