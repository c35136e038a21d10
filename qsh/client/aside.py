"""Looking something up in a thread: the resolver's calls block, and a hung one must hold up neither the login nor the end of the
process.
"""

from __future__ import annotations

import asyncio
import contextlib
from threading import Thread
from typing import TYPE_CHECKING

from qsh.errors import QshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.addresses import Address
    from qsh.client.record_lookup import Lookup

__all__ = ["aside", "more_of"]


async def aside(look_up: Callable[[], list[Address]], limit_s: float) -> list[Address]:
    """What ``look_up`` finds; nothing if it fails or takes longer."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def give(result: list[Address]) -> None:
        if not found.done():
            found.set_result(result)

    def work() -> None:
        result: list[Address] = []
        with contextlib.suppress(QshError, OSError):
            result = look_up()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(give, result)

    Thread(target=work, daemon=True).start()
    await asyncio.wait({found}, timeout=limit_s)
    return found.result() if found.done() else []


async def more_of(records: Lookup) -> list[Address]:
    """The places that they lead to, when the answers are there."""
    from qsh.client.record_lookup import LIMIT_S

    return await aside(records.later, LIMIT_S)
