"""From a target to a connection: addresses raced, the limit kept, and what to do when nothing
answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from qsh.client import probe
from qsh.client.addresses import has_route, udp_socket
from qsh.client.insistence import Insistence
from qsh.client.log import log
from qsh.client.race import Race
from qsh.errors import ConnectError, QshError, TransportError
from qsh.quic import Endpoint, client_endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from qsh.client.addresses import Address, Target
    from qsh.client.host_key import KnownHost
    from qsh.client.transports import Way
    from qsh.client.tuning import Tuning
    from qsh.quic import Connection, Driver, Early

__all__ = ["Connector", "Fallback"]

_DEFAULT_TIMEOUT_S: Final = 30.0
"""ConnectTimeout when none is set."""
_PROBE_S: Final = 5.0
"""How long sshd may take to greet; a firewall that drops gives no answer at all."""
_AGAIN_AFTER_S: Final = 1.0
"""A later connection gives UDP this much before other ways are gone."""
_WAYS_S: Final = 2.0
"""How much longer than ssh's greeting packets in a stream may take: they are better, and have a handshake to do."""
_FINAL_KINDS: Final = ("host-key-revoked", "handshake", "version", "closed-by-peer")
"""Somebody has answered: no other address and no other program is tried."""


class Fallback(Exception):
    """QUIC does not answer here, but ssh does."""


class Connector:
    """One attempt to reach a host."""

    def __init__(
        self,
        driver: Driver,
        target: Target,
        addresses: Sequence[Address],
        known: KnownHost,
        tuning: Tuning,
        early: Early | None = None,
        others: Callable[[], list[Way]] = list,
        *,
        udp: bool = True,
        more: Awaitable[list[Address]] | None = None,
    ) -> None:
        """``early``: the attempt at the first address that is under way already. ``others``: what is tried when UDP does not
        answer; without ``udp``, at once and alone. ``more``: addresses that are not known yet, better than those that are.
        """
        self._others, self._udp = others, udp
        self._told: list[str] = []
        """Why the other ways do not lead there."""
        self._driver, self._target = driver, target
        self.addresses = addresses
        """All that are known; the best first."""
        self._known, self._tuning = known, tuning
        self._early = early
        self._refusals: list[asyncio.Future[None]] = []
        """In the order of the addresses."""
        self._more = None if more is None else asyncio.ensure_future(self._with_more(more))
        self._failure: TransportError | None = None
        """Of the last attempt that failed."""
        self.endpoint: Endpoint | None = None
        """The endpoint of the connection that won."""
        self.under_way = asyncio.Event()
        """The first packet is out: there is time for other things."""

    async def connect(
        self,
        patience_s: float,
        timeout_s: float | None,
        *,
        may_fall_back: bool,
        impatient: bool,
        ways_after_s: float = 0.0,
    ) -> Connection:
        """The connection. Raises Fallback, ConnectError.

        After ``patience_s`` (at once when the port is closed and ``impatient``) ssh on TCP is
        looked at. The other ways to qshd are begun after ``ways_after_s``: unlike ssh they cost nothing if UDP answers yet.
        """
        if not self._udp:
            return await self._without_udp(timeout_s or _DEFAULT_TIMEOUT_S)
        race = asyncio.ensure_future(self._race())
        refused = asyncio.ensure_future(self._all_closed())
        beside = asyncio.ensure_future(self._go_beside(ways_after_s))
        limit_s = timeout_s or _DEFAULT_TIMEOUT_S
        start_s = asyncio.get_running_loop().time()
        try:
            hints = {race, refused} if impatient else {race}
            won = await _either(beside, hints, patience_s)
            if won is not None:
                return won
            if race.done():
                return self._outcome(race)
            return await self._look_around(race, refused, beside, start_s + limit_s, may_fall_back)
        finally:
            for task in (race, refused, beside):
                task.cancel()
            self._stop_probes()
            if self._more is not None:
                self._more.cancel()

    async def again(self, limit_s: float) -> Connection:
        """A later connection: nothing else is looked at. Raises ConnectError."""
        race = asyncio.ensure_future(self._race() if self._udp else _never())
        beside = asyncio.ensure_future(self._go_beside(_AGAIN_AFTER_S))
        try:
            won = await _either(beside, {race}, limit_s)
            if won is not None:
                return won
            if race.done():
                return self._outcome(race)
            raise ConnectError("no answer", kind="timeout")
        finally:
            race.cancel()
            beside.cancel()
            self._stop_probes()

    async def _go(self, way: Way) -> Connection:
        endpoint, connection = await way()
        self.endpoint = endpoint
        return connection

    async def _go_beside(self, delay_s: float) -> Connection | None:
        """The first of the other ways that leads there; None: none does."""
        await asyncio.sleep(delay_s)
        ways = [asyncio.ensure_future(self._go(way)) for way in self._others()]
        try:
            for way in asyncio.as_completed(ways):
                try:
                    return await way
                except TransportError as error:
                    if error.kind in _FINAL_KINDS:
                        raise
                    self._told.append(_reason(error))
        finally:
            for task in ways:
                task.cancel()
        return None

    async def _without_udp(self, limit_s: float) -> Connection:
        self.under_way.set()
        try:
            won = await asyncio.wait_for(self._go_beside(0.0), limit_s)
        except TimeoutError:
            self._told.append(f"connect to host {self._target.host}: Connection timed out")
            won = None
        if won is not None:
            return won
        nowhere = "QshTransport permits no way to the host (is QshTcpPort set?)"
        raise ConnectError("\n".join(self._told) or nowhere, kind="timeout")

    def _stop_probes(self) -> None:
        for closed in self._refusals:
            closed.cancel()

    def _outcome(self, race: asyncio.Task[Connection]) -> Connection:
        try:
            return race.result()
        except TransportError as error:
            raise ConnectError(_reason(error), kind=error.kind, code=error.code) from None

    async def _look_around(
        self,
        race: asyncio.Task[Connection],
        refused: asyncio.Task[None],
        beside: asyncio.Task[Connection | None],
        deadline_s: float,
        may_fall_back: bool,
    ) -> Connection:
        """Nothing has answered so far."""
        loop = asyncio.get_running_loop()
        log.debug(f"no answer on UDP port {self._target.udp_port} so far; looking at TCP")
        tcp = asyncio.ensure_future(
            probe.ssh_greets(self._ssh_addresses(), self._target.ssh_port, _PROBE_S)
        )
        try:
            won = await _either(beside, {race, tcp}, None) or await _either(
                beside, {race}, _WAYS_S, alone=False
            )
            if won is not None:
                return won
            if race.done():
                return self._outcome(race)
            if tcp.result() == "ssh" and may_fall_back:
                raise Fallback
            left_s = max(0.0, deadline_s - loop.time())
            won = await _either(beside, {race, refused}, left_s)
            if won is not None:
                return won
            if race.done() and not _is_timeout(race):
                return self._outcome(race)
            told = self._nobody(tcp.result(), refused.done(), self._told)
            raise ConnectError(told, kind="timeout")
        finally:
            tcp.cancel()

    def _nobody(self, tcp: str, closed: bool, others: Sequence[str] = ()) -> str:
        target = self._target
        reason = "Connection refused" if closed else "Connection timed out"
        what = "is closed" if closed else "does not answer"
        lines = [
            f"connect to host {target.host} port {target.udp_port}: {reason}",
            f"UDP port {target.udp_port} of {target.host} {what}. Is qshd running there? "
            f"A firewall must let UDP port {target.udp_port} in, and the answers out.",
        ]
        lines += others
        if tcp == "ssh":
            lines.append(f"ssh answers there on TCP port {target.ssh_port}: it may work.")
        elif tcp == "refused":
            lines.append(f"TCP port {target.ssh_port} is closed too: ssh would not get in either.")
        elif tcp == "web":
            lines.append(
                f"TCP port {target.ssh_port} answers with a web page (HTTP), not ssh: a captive portal?"
            )
        else:
            lines.append(f"Nor does ssh answer on TCP port {target.ssh_port}.")
        return "\n".join(lines)

    async def _race(self) -> Connection:
        """Attempts as they are due; the first connection wins."""
        loop = asyncio.get_running_loop()
        race = Race(self.addresses, self._tuning.initial_rtt_ms)
        attempts: dict[asyncio.Future[tuple[Endpoint, Connection]], Address] = {}
        refusals = dict(zip(self._closed_ports(), self.addresses, strict=True))
        more = self._more
        try:
            while True:
                while (address := race.due(loop.time())) is not None:
                    again = address in attempts.values()
                    attempts[asyncio.ensure_future(self._attempt(address, again=again))] = address
                if race.over and more is None:
                    raise self._failure or ConnectError("no address", kind="resolve")
                limit_s = None if race.deadline is None else max(0.0, race.deadline - loop.time())
                waited: set[asyncio.Future[Any]] = {*attempts, *refusals}
                if more is not None:
                    waited.add(more)
                done, _ = await asyncio.wait(
                    waited, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
                )
                for future in done:
                    if future is more:
                        race.more(more.result())
                        refusals.update(zip(self._refusals, more.result(), strict=False))
                        more = None
                    elif future in refusals:
                        race.refused(refusals.pop(future))
                    elif (error := future.exception()) is not None:
                        self._take_failure(error)
                        race.failed(attempts.pop(future))
                    else:
                        won: tuple[Endpoint, Connection] = future.result()
                        self.endpoint, connection = won
                        return connection
        finally:
            for future in attempts:
                future.cancel()

    def _closed_ports(self) -> list[asyncio.Future[None]]:
        """One for each address, done when somebody says that nobody is there."""
        if not self._refusals:
            self._refusals = [self._closed_port(address) for address in self.addresses]
        return self._refusals

    async def _with_more(self, more: Awaitable[list[Address]]) -> list[Address]:
        """Those that are new."""
        found = [address for address in await more if address not in self.addresses]
        closed = self._closed_ports()
        self.addresses = [*found, *self.addresses]
        closed[:0] = map(self._closed_port, found)
        return found

    def _closed_port(self, address: Address) -> asyncio.Future[None]:
        return asyncio.ensure_future(probe.refused(address, self._target.port_of(address)))

    async def _all_closed(self) -> None:
        """Return when all of them are done, and no more are to come."""
        if self._more is not None:
            await asyncio.wait({self._more})
        await asyncio.wait(self._closed_ports())

    def _ssh_addresses(self) -> list[Address]:
        """Those that ssh(1) would try."""
        return [address for address in self.addresses if not address.port]

    def _take_failure(self, error: BaseException) -> None:
        """Raises what ends the race: another attempt would not fare better."""
        if not isinstance(error, TransportError) or error.kind in _FINAL_KINDS:
            raise error
        self._failure = error

    async def _attempt(self, address: Address, *, again: bool) -> tuple[Endpoint, Connection]:
        """``again``: beside one that has no answer yet."""
        endpoint, outcome = self._start(address, again=again)
        insistence = Insistence(endpoint, self._tuning.initial_rtt_ms)
        self.under_way.set()  # whoever waits runs after the call below has started
        try:
            connection = await outcome
        except BaseException as error:
            if isinstance(error, QshError):
                port = self._target.port_of(address)
                log.debug(f"connect to address {address.host} port {port}: {error}")
            insistence.stop()
            endpoint.close()
            raise
        insistence.shaken(connection)
        log.debug("Connection established.")
        return endpoint, connection

    def _start(self, address: Address, *, again: bool) -> tuple[Endpoint, Awaitable[Connection]]:
        early, self._early = self._early, None
        if early is not None:
            return Endpoint.adopt(self._driver, early)
        target = self._target
        port = target.port_of(address)
        if again:
            log.debug(f"no answer from {address.host} port {port} yet, trying beside it", 2)
        else:
            log.debug(f"Connecting to {target.host} [{address.host}] port {port}.")
        if not target.bind_interface and not has_route(address, port):
            reason = "Network is unreachable"
            log.debug(f"connect to address {address.host} port {port}: {reason}")
            raise ConnectError(reason, kind="unreachable")
        with udp_socket(target, address.family) as sock:
            endpoint = client_endpoint(self._driver, sock, **self._tuning.endpoint())
        handshake = self._tuning.handshake(self._known)
        return endpoint, endpoint.connect(address.host, port, **handshake)


async def _never() -> Connection:
    never: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
    return await never


async def _either(
    beside: asyncio.Task[Connection | None],
    others: Collection[asyncio.Future[Any]],
    limit_s: float | None,
    *,
    alone: bool = True,
) -> Connection | None:
    """What ``beside`` has won, unless one of ``others`` is done before; without ``alone`` they are not waited for if it fails."""
    loop = asyncio.get_running_loop()
    deadline_s = None if limit_s is None else loop.time() + limit_s
    waited: set[asyncio.Future[Any]] = {beside, *others}
    while waited and not any(other.done() for other in others):
        if beside.done():
            won = beside.result()
            if won is not None or not alone:
                return won
            waited.discard(beside)
        left_s = None if deadline_s is None else deadline_s - loop.time()
        if left_s is not None and left_s <= 0:
            break
        await asyncio.wait(waited, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    return beside.result() if beside.done() else None


def _is_timeout(race: asyncio.Task[Connection]) -> bool:
    error = None if race.cancelled() else race.exception()
    return isinstance(error, TransportError) and error.kind == "timeout"


def _reason(error: TransportError) -> str:
    if error.kind == "timeout":
        return "Connection timed out"
    if error.kind == "refused":
        return "Connection refused by the server"
    return str(error)
