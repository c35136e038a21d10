"""Numbers of forwarded connections, as ssh gives them."""

from __future__ import annotations

import asyncio

from qsh.client.channel_numbers import ChannelNumbers


def test_the_lowest_that_is_free() -> None:
    numbers = ChannelNumbers(1)
    numbers.keep(2)
    with numbers.one("a") as first:
        with numbers.one("b") as second, numbers.one("c") as third:
            assert (first, second, third) == (3, 4, 5)
            numbers.describe(4, "more of b")
            assert numbers.lines() == ["#3 a", "#4 more of b", "#5 c"]
        with numbers.one("d") as again:
            assert again == 4
    assert numbers.lines() == []


def test_idle() -> None:
    async def run() -> None:
        numbers = ChannelNumbers(0)
        await numbers.idle()
        with numbers.one("a"):
            waiting = asyncio.ensure_future(numbers.idle())
            await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(run())
