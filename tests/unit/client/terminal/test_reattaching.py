"""qsh.client.terminal.reattaching: when another connection is tried, and what becomes of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qsh.client import resume
from qsh.client.terminal import reattaching as module
from qsh.client.terminal.reattaching import Reattaching
from qsh.errors import ConnectError
from qsh.session.typed_log import TypedLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FOUND: Any = ("link", "channel")


class Setup:
    """A terminal whose connection is alive, and what :attr:`attempts` come to, one after the other."""

    def __init__(self, *attempts: object) -> None:
        self.attempts = list(attempts)
        self.tried = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.channel: Any = SimpleNamespace(heard=object())
        self.reattaching = Reattaching(
            self.reopen,
            b"client",
            self.channel,
            SimpleNamespace(position=0),  # type: ignore[arg-type]
            exact=False,
            pty=lambda: None,  # type: ignore[arg-type, return-value]
            typed=TypedLog(),
            clock=lambda: 0.0,
            failed=lambda: None,
        )
        self.reattaching.ticket = b"ticket"

    async def reopen(self, message: object) -> Any:
        self.tried += 1
        await self.go_on.wait()
        outcome = self.attempts.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "PAUSE_S", 0.0)
    monkeypatch.setattr(module, "abandon", lambda *_: None)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(test(), 5.0)

    asyncio.run(limited())


def refused() -> ConnectError:
    return ConnectError("no", kind="timeout")


def test_a_better_way_is_taken_though_the_host_is_heard() -> None:
    async def test() -> None:
        setup = Setup(FOUND)
        setup.reattaching.seek_better()
        setup.reattaching.heard()
        assert await setup.reattaching.replaced == FOUND

    run(test)


def test_one_that_is_none_is_tried_once() -> None:
    async def test() -> None:
        setup = Setup(refused())
        setup.reattaching.seek_better()
        await asyncio.sleep(0.01)
        assert setup.tried == 1
        assert not setup.reattaching.replaced.done()
        setup.attempts = [FOUND]
        setup.reattaching.start()  # an outage, later
        assert await setup.reattaching.replaced == FOUND

    run(test)


def test_where_the_connection_is_lost_meanwhile_attempts_go_on() -> None:
    async def test() -> None:
        setup = Setup(refused(), refused(), FOUND)
        setup.go_on.clear()
        setup.reattaching.seek_better()
        await asyncio.sleep(0)
        setup.channel.heard = None
        setup.reattaching.start()  # there is an attempt already
        setup.go_on.set()
        assert await setup.reattaching.replaced == FOUND
        assert setup.tried == 3

    run(test)


def test_after_a_silence_the_host_that_is_heard_again_ends_it() -> None:
    """The control: that is no better way, it was thought to be the only one."""

    async def test() -> None:
        setup = Setup(FOUND)
        setup.go_on.clear()
        setup.reattaching.start()
        await asyncio.sleep(0)
        setup.reattaching.heard()
        setup.go_on.set()
        await asyncio.sleep(0.01)
        assert not setup.reattaching.replaced.done()

    run(test)
