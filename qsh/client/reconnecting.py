"""A later connection to the host: over whatever has a way there now, while its name is looked up again."""

from __future__ import annotations

import asyncio
import contextlib
from threading import Thread
from typing import TYPE_CHECKING, Final

from qsh.client.addresses import in_order, resolve, route_source
from qsh.errors import ConnectError, QshError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.client.addresses import Address, Target
    from qsh.client.connect import Connector
    from qsh.quic import Connection

__all__ = ["connect_again"]

RESOLVE_S: Final = 2.0
"""The resolver's time; without a network it takes much longer to say that there is none."""
CONNECT_S: Final = 5.0
"""How long a connection is waited for before the next is tried."""


async def connect_again(
    target: Target,
    addresses: Sequence[Address],
    best: str,
    connector: Callable[[Sequence[Address]], Connector],
) -> Connection:
    """Raises ConnectError, at once where no address of the host's has a way. ``best``: the address that has answered."""
    tried: set[Address] = set()
    attempts: set[asyncio.Task[Connection]] = set()
    error: QshError = ConnectError("no way to the host", kind="unreachable")

    def attempt(found: Sequence[Address]) -> None:
        new = [each for each in _with_a_way(target, found) if each not in tried]
        if new:
            tried.update(new)
            attempts.add(asyncio.ensure_future(connector(new).again(CONNECT_S)))

    looked_up: asyncio.Task[list[Address]] = asyncio.ensure_future(_resolve_aside(target))
    attempt(addresses)
    waited: set[asyncio.Task[Connection] | asyncio.Task[list[Address]]] = {looked_up}
    try:
        while waited or attempts:
            await asyncio.wait(waited | attempts, return_when=asyncio.FIRST_COMPLETED)
            for each in [each for each in attempts if each.done()]:
                attempts.discard(each)
                failure = each.exception()
                if failure is None:
                    return each.result()
                if not isinstance(failure, QshError):
                    raise failure
                error = failure
            if waited and looked_up.done():
                waited = set()
                attempt(in_order(looked_up.result(), target.udp_port, best))
        raise error
    finally:
        for task in (looked_up, *attempts):
            task.cancel()


def _with_a_way(target: Target, addresses: Sequence[Address]) -> list[Address]:
    return [each for each in addresses if route_source(target, each, target.udp_port) is not None]


async def _resolve_aside(target: Target) -> list[Address]:
    """The addresses of now; nothing where the resolver does not answer in time, as without a network it does not.

    A thread of its own: a hung one must not hold up the end of the process.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def give(result: list[Address]) -> None:
        if not found.done():
            found.set_result(result)

    def work() -> None:
        result: list[Address] = []
        with contextlib.suppress(QshError, OSError):
            result = resolve(target)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(give, result)

    Thread(target=work, daemon=True).start()
    await asyncio.wait({found}, timeout=RESOLVE_S)
    return found.result() if found.done() else []
