"""Whether a connection comes about through SSH, and what happens where it cannot (docs/protocol.md 15.7)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from qsh.client.log import log, log_loop_error
from qsh.errors import AuthenticationError, ConnectError, HostKeyError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence

    from qsh.client.addresses import Address, Target
    from qsh.client.background import Background
    from qsh.client.bootstrap import Bootstrap
    from qsh.client.host_key import KnownHost
    from qsh.client.host_state import HostState
    from qsh.client.request import Request
    from qsh.client.tuning import Tuning
    from qsh.config.options import ClientOptions

__all__ = ["ByHost", "quietly", "through_ssh"]


class ByHost(NamedTuple):
    """A host, and the way SSH takes to it."""

    options: ClientOptions
    state: HostState
    background: Background | None
    reach: tuple[Target, Sequence[Address], Tuning]
    way: Sequence[tuple[ClientOptions, KnownHost]]
    request: Request | None
    owner: socket.socket | None

    def bootstrap(self, *, only_packets: bool, quiet: bool = False) -> Bootstrap:
        """What does it."""
        from qsh.client.bootstrap import Bootstrap

        return Bootstrap(
            self.options,
            self.state,
            self.background,
            reach=self.reach,
            way=self.way,
            request=self.request,
            owner=self.owner,
            only_packets=only_packets,
            quiet=quiet,
        )


def through_ssh(
    host: ByHost, *, only_remembered: bool, give_up: Callable[[str], object]
) -> int | None:
    """The exit status; None with ``only_remembered`` where the instance of last time is not there. Raises QshError.

    ``give_up`` becomes ssh(1): where no qshd is on the host, the user has not asked for one, and nobody has typed a password yet.
    """
    options = host.options
    transport = options.qsh_transport == "ssh"

    async def run() -> int | None:
        bootstrap = host.bootstrap(only_packets=transport)
        try:
            return await bootstrap.run(only_remembered=only_remembered)
        except ConnectError as error:
            may = options.qsh_fallback != "no" and host.request is None and not bootstrap.asked
            if options.qsh_bootstrap == "yes" or not may or error.kind != "no-daemon":
                raise
            give_up(f"{error}; continuing with ssh")
            raise

    return _complete(run())


def quietly(host: ByHost) -> int | None:
    """The exit status; None where it does not come about without asking anybody: ssh(1) will ask, and say what is wrong."""

    async def run() -> int | None:
        try:
            return await host.bootstrap(only_packets=True, quiet=True).run()
        except (ConnectError, HostKeyError, AuthenticationError) as error:
            log.debug(f"through SSH: {error}")
            return None

    return _complete(run())


def _complete(work: Coroutine[object, object, int | None]) -> int | None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(log_loop_error)
    return loop.run_until_complete(work)
