"""The part of a run that needs asyncio: the connection, the login, the session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qsh.client import fallback, host_state
from qsh.client.connect import Connector, Fallback
from qsh.client.log import log
from qsh.client.login import Login
from qsh.client.prompt import Prompter
from qsh.errors import HostKeyError
from qsh.quic import Driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.client.addresses import Address, Target
    from qsh.client.background import Background
    from qsh.client.host_key import KnownHost
    from qsh.client.host_state import HostState
    from qsh.client.tuning import Tuning
    from qsh.config.options import ClientOptions
    from qsh.quic import Connection, Early

    Reach = tuple[Target, Sequence[Address], KnownHost, Tuning]

__all__ = ["Conversation"]


class Conversation:
    """One run with a host that ``reach`` says how to find."""

    def __init__(
        self,
        options: ClientOptions,
        state: HostState,
        background: Background | None,
        *,
        reach: Reach,
    ) -> None:
        self._options, self._state, self._background = options, state, background
        self._reach = reach

    def run(self, early: Early | None) -> int | None:
        """The exit status; None when ssh(1) is to take over. Raises QshError."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(_log_loop_error)
        try:
            return loop.run_until_complete(self._run(early))
        except Fallback:
            return None

    async def _run(self, early: Early | None) -> int:
        target, addresses, known, tuning = self._reach
        connector = Connector(Driver(early=early), target, addresses, known, tuning, early)
        connecting = asyncio.ensure_future(self._connect(connector, known))
        try:
            await connector.under_way.wait()
            prompter = Prompter(batch=self._options.batch_mode)
            login = Login(self._options, self._state, prompter, self._background)
            login.prepare()
            connection = await connecting
        except BaseException:
            connecting.cancel()
            raise
        status, key = await login.run(connection, known)
        self._remember(connection, key)
        return status

    async def _connect(self, connector: Connector, known: KnownHost) -> Connection:
        try:
            return await connector.connect(
                fallback.patience_ms(self._state) / 1000,
                self._options.connect_timeout,
                may_fall_back=self._options.qsh_fallback != "no",
                impatient=not self._state.answered,
            )
        except HostKeyError:
            raise known.revoked_error() from None
        finally:
            connector.under_way.set()

    def _remember(self, connection: Connection, key: str) -> None:
        rtt_ms = connection.stats()["rtt_us"] / 1000
        state = host_state.HostState(rtt_ms, answered=True, key=key or self._state.key)
        if not state.is_like(self._state):
            port = self._reach[0].udp_port
            host_state.save(self._options.user, self._options.hostname, port, state)


def _log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio would print as a traceback."""
    log.debug(f"asyncio: {context.get('message')}: {context.get('exception')!r}")
