"""A later connection through SSH, where the SSH connection before may lead nowhere."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from qsh.client import bootstrap as module
from qsh.client import ssh_carrier
from qsh.client.bootstrap import Bootstrap
from qsh.client.prompt import Prompter
from qsh.errors import ConnectError


class FakeCarrier:
    """An SSH connection that the test ends."""

    def __init__(self, *_: object, refused: bool = False) -> None:
        self.alive, self.closed, self.refused = True, False, refused

    async def connect(self) -> None:
        if self.refused:
            raise ConnectError("no", kind="ssh")

    def close(self) -> None:
        self.closed = True


def again(stale: FakeCarrier, fresh: FakeCarrier, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The outcome, where nothing comes back through ``stale``."""
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    monkeypatch.setattr(ssh_carrier, "Carrier", lambda *_: fresh)

    async def packets(_: object, carrier: FakeCarrier) -> str:
        if carrier is stale:
            await asyncio.Event().wait()
        return "connection"

    monkeypatch.setattr(Bootstrap, "_packets", packets)
    made: Any = Bootstrap.__new__(Bootstrap)
    made._here, made._way, made._addresses = None, [], []
    made._udp_only = False
    made._prompter, made._carrier = Prompter(batch=True), stale
    return asyncio.run(made._again()), made._carrier


def test_one_that_answers_nobody_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    stale, fresh = FakeCarrier(), FakeCarrier()
    assert again(stale, fresh, monkeypatch) == ("connection", fresh)
    assert stale.closed
    assert not fresh.closed


def test_one_that_may_come_back_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stale, fresh = FakeCarrier(), FakeCarrier(refused=True)
    with pytest.raises(ConnectError):
        again(stale, fresh, monkeypatch)
    assert fresh.closed
    assert not stale.closed


def test_where_only_udp_is_wanted_ssh_is_not_asked_and_the_next_time_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def dial(*_: object) -> str:
        raise ConnectError("nothing", kind="timeout")

    async def packets(*_: object) -> str:
        return "connection"

    monkeypatch.setattr(Bootstrap, "_dial", dial)
    monkeypatch.setattr(Bootstrap, "_packets", packets)
    made: Any = Bootstrap.__new__(Bootstrap)
    made._here, made._direct, made._udp_only = (60000, ()), True, True
    made._options = SimpleNamespace(qsh_transport="auto")
    made._prompter, made._carrier = Prompter(batch=True), FakeCarrier()
    with pytest.raises(ConnectError):
        asyncio.run(made._again())
    assert asyncio.run(made._again()) == "connection"
