"""A later connection to the host: over whatever has a way there now, while its name is looked up again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsh.client.addresses import route_source
from qsh.client.aside import aside
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
    look_up: Callable[[], list[Address]],
    connector: Callable[[Sequence[Address]], Connector],
) -> Connection:
    """Raises ConnectError, at once where no address of the host's has a way. ``look_up`` says which it has now; it may block."""
    tried: set[Address] = set()
    attempts: set[asyncio.Task[Connection]] = set()
    error: QshError = ConnectError("no way to the host", kind="unreachable")

    def attempt(found: Sequence[Address]) -> None:
        new = [each for each in _with_a_way(target, found) if each not in tried]
        if new:
            tried.update(new)
            attempts.add(asyncio.ensure_future(connector(new).again(CONNECT_S)))

    looked_up: asyncio.Task[list[Address]] = asyncio.ensure_future(aside(look_up, RESOLVE_S))
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
                attempt(looked_up.result())
        raise error
    finally:
        for task in (looked_up, *attempts):
            task.cancel()


def _with_a_way(target: Target, addresses: Sequence[Address]) -> list[Address]:
    return [
        each for each in addresses if route_source(target, each, target.port_of(each)) is not None
    ]
