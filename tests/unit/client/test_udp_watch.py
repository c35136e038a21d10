"""qsh.client.udp_watch: who answers, and how often it is asked."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from qsh.client import udp_watch
from qsh.client.addresses import Address

TARGET: Any = SimpleNamespace(bind_address="", bind_interface="", ip_qos=None)


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses in the order in which they were asked."""
    asked: list[str] = []

    async def answers(target: Any, address: Address, port: int) -> bool:
        asked.append(address.host)
        return address.host == "192.0.2.2"

    monkeypatch.setattr(udp_watch, "udp_answers", answers)
    return asked


def test_it_is_asked_less_often_the_longer_it_is_of_no_use(
    probed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 8:
            raise asyncio.CancelledError

    monkeypatch.setattr(udp_watch.asyncio, "sleep", sleep)
    told: list[int] = []
    addresses = [Address.of("192.0.2.1"), Address.of("192.0.2.2"), Address.of("192.0.2.3")]
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(udp_watch.tell_when_udp_answers(TARGET, addresses, 1, lambda: told.append(1)))
    assert pauses == [2.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0, 300.0]
    assert len(told) == 8
    assert probed[:4] == ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]


def test_silence_is_asked_at_the_same_pace(
    probed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(udp_watch.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(
            udp_watch.tell_when_udp_answers(TARGET, [Address.of("192.0.2.1")], 1, lambda: None)
        )
    assert pauses == [2.0, 10.0, 10.0, 10.0, 10.0]


def test_a_closed_port_is_no_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    assert not asyncio.run(udp_watch.udp_answers(TARGET, Address.of("127.0.0.1"), port))
