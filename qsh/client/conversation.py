"""The part of a run that needs asyncio: the connection, the login, the session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qsh.client import fallback, host_state
from qsh.client.connect import Connector, Fallback
from qsh.client.log import log_loop_error
from qsh.client.login import Login
from qsh.client.prompt import Prompter
from qsh.errors import HostKeyError
from qsh.quic import Driver

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from qsh.client import hops
    from qsh.client.addresses import Address, Target
    from qsh.client.background import Background
    from qsh.client.host_key import KnownHost
    from qsh.client.host_state import HostState
    from qsh.client.leaving_udp import Dial
    from qsh.client.record_lookup import Lookup
    from qsh.client.request import Request
    from qsh.client.ssh_stream import Reached, SshStreams
    from qsh.client.transports import Way
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
        request: Request | None = None,
        owner: socket.socket | None = None,
        hops: Sequence[hops.Reach] = (),
        records: Lookup | None = None,
        by_ssh: Callable[[], Reached] | None = None,
    ) -> None:
        """``hops``: jump hosts, the nearest first. ``records``: what may still say where the host is. ``by_ssh``: the way
        that SSH takes, if it may be needed.
        """
        self._by_ssh = by_ssh
        self._ssh: SshStreams | None = None
        self._records = records
        self._hops = hops
        self._options, self._state, self._background = options, state, background
        self._reach, self._request, self._owner = reach, request, owner
        self._answered_at = ""
        """An address of the host."""

    def run(self, early: Early | None) -> int | None:
        """The exit status; None when ssh(1) is to take over. Raises QshError."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(log_loop_error)
        try:
            return loop.run_until_complete(self._run(early))
        except Fallback:
            return None

    async def _run_through(self) -> int:
        """Through jump hosts."""
        from qsh.client.hops import Hops, Reach

        options = self._options
        target, addresses, known, tuning = self._reach
        last = Reach(options, target, addresses, known, tuning, self._state)
        prompter = Prompter(batch=options.batch_mode)
        hops = Hops(Driver(), self._hops, prompter, may_fall_back=self._may_fall_back)
        login = Login(
            options,
            self._state,
            prompter,
            self._background,
            self._request,
            lambda: hops.reach(last, again=True),
            through=True,
        )
        login.prepare()
        try:
            connection = await hops.reach(last)
            status, key = await login.run(connection, known)
            self._remember(connection, key)
        finally:
            await hops.close()
        return status

    async def _run(self, early: Early | None) -> int:
        if self._hops:
            return await self._run_through()
        _, addresses, known, _ = self._reach
        driver = Driver(early=early)
        more = None
        if self._records is not None:
            from qsh.client.aside import more_of

            more = more_of(self._records)
        connector = self._connector(driver, addresses, early, more)
        connecting = asyncio.ensure_future(self._connect(connector, known))
        try:
            await connector.under_way.wait()
            prompter = Prompter(batch=self._options.batch_mode)
            login = Login(
                self._options,
                self._state,
                prompter,
                self._background,
                self._request,
                lambda: self._connect_again(driver),
                self._owner,
            )
            login.remember = self._remember
            login.addresses = addresses
            login.connect_to = lambda address: self._connect_to(driver, address)
            if self._options.qsh_transport == "auto":
                login.streams = self._streams
            login.prepare()
            connection = await connecting
            self._answered_at = connection.remote_address[0]
            login.addresses = connector.addresses
            self._reach = (self._reach[0], connector.addresses, *self._reach[2:])
        except BaseException:
            connecting.cancel()
            raise
        status, key = await login.run(connection, known)
        self._remember(connection, key)
        return status

    @property
    def _may_fall_back(self) -> bool:
        return self._options.qsh_fallback != "no" and self._request is None

    async def _connect(self, connector: Connector, known: KnownHost) -> Connection:
        known_way = self._known_way()
        patience_ms = fallback.patience_ms(self._state)
        ways_after_ms = fallback.ways_after_ms(self._state)
        try:
            connection = await connector.connect(
                (ways_after_ms if known_way == "ssh" else patience_ms) / 1000,
                self._options.connect_timeout,
                may_fall_back=self._may_fall_back,
                impatient=not self._state.answered,
                ways_after_s=0.0 if known_way == "tcp" else ways_after_ms / 1000,
            )
            carried = connection.endpoint.carried
            self._remember_way(known_way, "" if carried is None else carried[0])
            return connection
        except HostKeyError:
            raise known.revoked_error() from None
        finally:
            connector.under_way.set()

    def _known_way(self) -> str:
        """By which this host was reached last from this network, if not by UDP."""
        target, addresses, _, _ = self._reach
        if self._options.qsh_transport != "auto" or not host_state.has_any("transports"):
            return ""  # the second almost always: it is cheaper than to look which network this is
        from qsh.client import transport_memory

        return transport_memory.load(addresses[0], target.udp_port)

    def _remember_way(self, before: str, way: str) -> None:
        if way == before or self._options.qsh_transport != "auto":
            return
        from qsh.client import transport_memory

        target, addresses, _, _ = self._reach
        if way:
            transport_memory.save(addresses[0], target.udp_port, way)
        else:
            transport_memory.forget(addresses[0], target.udp_port)

    async def _connect_again(self, driver: Driver) -> Connection:
        """For a terminal that lost its connection: the name may mean another address by now."""
        from qsh.client import record_lookup
        from qsh.client.reconnecting import connect_again

        target, addresses, _, _ = self._reach
        best = self._answered_at or self._state.address
        return await connect_again(
            target,
            addresses,
            lambda: record_lookup.find(target, best),
            lambda found: self._connector(driver, found),
        )

    async def _connect_to(self, driver: Driver, address: Address) -> Connection:
        """For a terminal whose way is bad: by UDP, to this address."""
        from qsh.client.reconnecting import CONNECT_S

        target, _, known, tuning = self._reach
        return await Connector(driver, target, [address], known, tuning).again(CONNECT_S)

    def _streams(self, connection: Connection) -> Sequence[tuple[str, Dial]]:
        """For one that UDP does not carry any more."""
        from qsh.client import transports

        target, remote = self._reach[0], connection.remote_address
        found: list[tuple[str, Dial]] = []
        if (port := transports.tcp_port(self._options)) is not None:
            found.append(("tcp", transports.to_same_host(target, port, connection)))
        if self._by_ssh is not None:
            from qsh.client.ssh_stream import SshStreams

            ssh = self._ssh = self._ssh or SshStreams(self._by_ssh)
            found.append(("ssh", lambda: ssh.dial(remote)))
        return found

    def _connector(
        self,
        driver: Driver,
        addresses: Sequence[Address],
        early: Early | None = None,
        more: Awaitable[list[Address]] | None = None,
    ) -> Connector:
        target, _, known, tuning = self._reach

        def others() -> list[Way]:
            from qsh.client import transports

            reach = transports.Reach(driver, target, addresses, known, tuning)
            return transports.ways(self._options, reach)

        udp = self._options.qsh_transport != "tcp"
        return Connector(
            driver, target, addresses, known, tuning, early, others, udp=udp, more=more
        )

    def _remember(self, connection: Connection, key: str) -> None:
        rtt_ms = connection.stats()["rtt_us"] / 1000
        address = "" if self._hops else connection.remote_address[0]
        state = self._state._replace(
            rtt_ms=rtt_ms, answered=True, key=key or self._state.key, address=address
        )
        if not state.is_like(self._state):
            port = self._reach[0].udp_port
            host_state.save(self._options.user, self._options.hostname, port, state)
