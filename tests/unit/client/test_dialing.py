"""Connecting to where a remote forward leads."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from qsh.client import dialing
from qsh.wire.messages import Target

if TYPE_CHECKING:
    from pathlib import Path

    from qsh.forward.dialing import Address

LIMIT_S = 10.0


def connected(target: Target) -> None:
    async def run() -> None:
        with await asyncio.wait_for(dialing.connect(target), LIMIT_S) as sock:
            assert not sock.getblocking()
            assert not sock.get_inheritable()

    asyncio.run(run())


def test_a_host_and_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for host in ("127.0.0.1", "localhost"):
            connected(Target(host, listener.getsockname()[1]))


def test_a_path(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        connected(Target(path=path))


@pytest.mark.parametrize(
    ("target", "number"),
    [
        (Target("127.0.0.1", 1), errno.ECONNREFUSED),
        (Target("nonesuch.invalid", 1), socket.EAI_NONAME),
        (Target("a\0b", 1), socket.EAI_NONAME),
        (Target(path=b"/nonesuch/socket"), errno.ENOENT),
    ],
)
def test_what_cannot_be_had(target: Target, number: int) -> None:
    with pytest.raises(OSError, match=r".") as error:
        connected(target)
    assert error.value.errno == number


def test_a_silent_address_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    real, given_up = dialing._attempt, []

    async def attempt(address: Address) -> socket.socket:
        if address.where[0] == "192.0.2.1":
            try:
                await asyncio.Event().wait()
            finally:
                given_up.append(address)
        return await real(address)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def both(*_: Any, **__: Any) -> Any:
            return [(socket.AF_INET, 1, 6, "", (ip, port)) for ip in ("192.0.2.1", "127.0.0.1")]

        monkeypatch.setattr(dialing.socket, "getaddrinfo", both)
        monkeypatch.setattr(dialing, "_attempt", attempt)
        connected(Target("both.invalid", port))
    assert len(given_up) == 1


def test_a_name_service_that_hangs_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, real = threading.Event(), dialing._look_up

    def look_up(host: str, port: int) -> Any:
        if host == "hangs.invalid":
            hangs.wait(LIMIT_S)
        return real(host, port)

    monkeypatch.setattr(dialing, "_look_up", look_up)

    async def run(port: int) -> None:
        waiting = [
            asyncio.ensure_future(dialing.connect(Target("hangs.invalid", 1))) for _ in range(50)
        ]
        await asyncio.sleep(0)
        (await asyncio.wait_for(dialing.connect(Target("localhost", port)), LIMIT_S)).close()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        hangs.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(run(listener.getsockname()[1]))
