"""Work that nobody waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qsh.client.spawned import Spawned
from qsh.errors import ChannelError, QshError

if TYPE_CHECKING:
    import pytest


async def fail(error: Exception) -> None:
    raise error


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_it_is_kept_until_it_ends() -> None:
    async def main() -> None:
        ends: list[int] = []
        spawned = Spawned("work", on_end=lambda: ends.append(len(spawned)))
        release = asyncio.Event()
        for _ in range(2):
            spawned.spawn(_wait(release))
        await settle()
        assert (len(spawned), ends) == (2, [])
        release.set()
        await settle()
        assert (len(spawned), ends) == (0, [1, 0])

    async def _wait(release: asyncio.Event) -> None:
        await release.wait()

    asyncio.run(main())


def test_what_goes_wrong_is_told_unless_it_is_told_elsewhere(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def main() -> None:
        spawned = Spawned("forwarded connection", quiet=(QshError,))
        spawned.spawn(fail(ChannelError("refused")))
        spawned.spawn(fail(ZeroDivisionError("a bug")))
        await settle()
        assert len(spawned) == 0

    asyncio.run(main())
    assert capfd.readouterr().err == "qsh: forwarded connection: ZeroDivisionError: a bug\r\n"
