"""Jump hosts: a connection inside a connection (docs/protocol.md 12.7).

Each hop is logged in to like any host, and leads a UDP flow to the next one. QUIC to that one goes through the flow, so a hop
sees what any router would see.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.channels.frames import read_frame
from qsh.client import fallback
from qsh.client.connect import Connector, Fallback
from qsh.client.link import ABANDONED
from qsh.client.log import log
from qsh.client.login import Login
from qsh.client.text import visible
from qsh.errors import AuthenticationError, ConnectError, HostKeyError, QshError, TransportError
from qsh.forward.failure import open_failed
from qsh.forward.udp_flow import CODE_REFUSED, lead
from qsh.quic import UdpListener, client_endpoint, client_socket
from qsh.wire import framing
from qsh.wire.channel import AnswerReader
from qsh.wire.messages import Failed, Open, Opened, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.client import addresses
    from qsh.client.host_key import KnownHost
    from qsh.client.host_state import HostState
    from qsh.client.link import Link
    from qsh.client.prompt import Prompter
    from qsh.client.record_lookup import Lookup
    from qsh.client.tuning import Tuning
    from qsh.config.options import ClientOptions
    from qsh.quic import Connection, Driver, Endpoint, FlowEnd

__all__ = ["Hops", "Reach"]

LOOPBACK: Final = "127.0.0.1"
OVERHEAD: Final = 64
"""Bytes of an outer packet that are no datagram: short header, tag, frame, and the flow's number."""
SMALLEST: Final = 1200
"""Of QUIC's packets: those go by stream while the outer path is not known to carry them. What is larger must not, or the search
for the inner path's MTU would take the stream for the path."""
TIMEOUT_S: Final = 30.0
"""For a handshake, when ConnectTimeout says nothing."""
AGAIN_S: Final = 5.0
"""For that of a later connection, until the next is tried."""
GREETING_S: Final = 5.0
FAREWELL_S: Final = 0.002
"""The inner connection's last packet, which says that it is closed, has to get through the outer one before that is closed."""


class Reach(NamedTuple):
    """How one host is to be reached: ``addresses`` are looked up for the first only, the others by the hop before."""

    options: ClientOptions
    target: addresses.Target
    addresses: Sequence[addresses.Address]
    known: KnownHost
    tuning: Tuning
    state: HostState
    records: Lookup | None = None
    """What may still say where the first one is."""


class _Hop:
    """One that is on the way."""

    def __init__(self, reach: Reach, login: Login) -> None:
        self.reach, self.login = reach, login
        self.link: Link | None = None

    @property
    def alive(self) -> bool:
        return self.link is not None and not self.link.lost.done()


class _Way:
    """A UDP flow through a hop, and the endpoint whose packets it carries."""

    def __init__(
        self, driver: Driver, link: Link, target: addresses.Target, tuning: Tuning
    ) -> None:
        with client_socket(LOOPBACK, LOOPBACK) as inner:
            self.endpoint: Endpoint = client_endpoint(driver, inner, **tuning.endpoint())
            port = inner.getsockname()[1]
            self.outer = link.connection
            ears = client_socket(LOOPBACK, LOOPBACK)
            self.port = int(ears.getsockname()[1])
            self.listener = UdpListener(driver, ears, limit=1, idle_s=0, only=(LOOPBACK, port))
        self._request = Open("udp", target=Target(target.host, target.udp_port), by_stream=SMALLEST)

    async def carry(self) -> FlowEnd | Failed | None:
        """Until the flow's end."""
        peer = await self.listener.peer()
        if peer is None:
            return None
        return await lead(self.listener, peer, self.outer, self._request)

    @property
    def largest(self) -> int:
        """Bytes of a packet that the outer connection may come to carry as one datagram."""
        return max(SMALLEST, self.outer.stats()["mtu_limit"] - OVERHEAD)

    def close(self) -> None:
        self.endpoint.close()
        self.listener.close()


class Hops:
    """The way to a host through others. :meth:`reach`, and :meth:`close` when its connection has ended."""

    def __init__(
        self, driver: Driver, hops: Sequence[Reach], prompter: Prompter, *, may_fall_back: bool
    ) -> None:
        self._driver, self._may_fall_back = driver, may_fall_back
        self._hops = [
            _Hop(hop, Login(hop.options, hop.state, prompter, None, through=bool(number)))
            for number, hop in enumerate(hops)
        ]

    async def reach(self, last: Reach, *, again: bool = False) -> Connection:
        """A connection to the host at the end. Raises Fallback, QshError. ``again``: nobody is asked, nothing else tried."""
        async with asyncio.timeout(last.options.connect_timeout or None) as limit:
            try:
                return await self._reach(last, again=again)
            except asyncio.CancelledError:
                if not limit.expired():
                    raise
        raise ConnectError(f"connect to {last.target.host}: Connection timed out", kind="timeout")

    async def _reach(self, last: Reach, *, again: bool) -> Connection:
        before: Link | None = None
        for number, hop in enumerate(self._hops):
            if not hop.alive:
                for later in self._hops[number + 1 :]:
                    later.link = None  # what went through it is gone
                hop.link = await self._enter(hop, before, again=again)
            before = hop.link
        assert before is not None  # noqa: S101 - there is one hop at least
        return await self._connect(before, last, again=again)

    def _give_up_silent(self, before: Link, heard: int) -> None:
        """An attempt through this hop has failed, and nothing came from it meanwhile: it may have forgotten us."""
        if before.connection.stats()["received_packets"] == heard:
            log.debug("the jump host is silent: connecting to it again")
            for hop in self._hops:
                if hop.link is not None:
                    hop.link.connection.close(ABANDONED)
                    hop.link = None

    async def _enter(self, hop: _Hop, before: Link | None, *, again: bool) -> Link:
        options, name = hop.reach.options, hop.reach.options.host_arg
        if not again:
            hop.login.prepare()
        connection = (
            await self._connect_first(hop.reach, again=again)
            if before is None
            else await self._connect(before, hop.reach, again=again)
        )
        try:
            if again:
                return await hop.login.hold_again(connection)
            return await hop.login.hold(connection, hop.reach.known)
        except AuthenticationError as error:
            methods = visible(str(error))
            text = f"{options.user}@{options.hostname}: Permission denied ({methods})."
            raise ConnectError(f"jump host {visible(name)}: {text}", kind="jump") from None

    async def _connect_first(self, reach: Reach, *, again: bool) -> Connection:
        more = None
        if reach.records is not None and not again:
            from qsh.client.aside import more_of

            more = more_of(reach.records)
        connector = Connector(
            self._driver, reach.target, reach.addresses, reach.known, reach.tuning, more=more
        )
        if again:
            return await connector.again(AGAIN_S)
        try:
            return await connector.connect(
                fallback.patience_ms(reach.state) / 1000,
                reach.options.connect_timeout,
                may_fall_back=self._may_fall_back,
                impatient=not reach.state.answered,
            )
        except HostKeyError:
            raise reach.known.revoked_error() from None

    async def _connect(self, before: Link, reach: Reach, *, again: bool) -> Connection:
        """Through the hop that ``before`` is logged in to."""
        host, port = reach.target.host, reach.target.udp_port
        log.debug(f"Connecting to {visible(host)} port {port} through the host before it.")
        heard = before.connection.stats()["received_packets"]
        way = _Way(self._driver, before, reach.target, reach.tuning)
        carrying = asyncio.ensure_future(way.carry())
        connecting = asyncio.ensure_future(
            way.endpoint.connect(
                LOOPBACK,
                way.port,
                **reach.tuning.handshake(reach.known),
                timeout_s=AGAIN_S if again else reach.options.connect_timeout or TIMEOUT_S,
                largest=way.largest,
            )
        )
        patience_s = fallback.patience_ms(reach.state) / 1000
        patience_s += 6 * before.connection.stats()["rtt_us"] / 1e6
        try:
            waited: set[asyncio.Future[object]] = {carrying, connecting}  # type: ignore[arg-type]
            done, _ = await asyncio.wait(
                waited, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done and not again:
                await self._look_around(before, reach)
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if carrying.done() and not connecting.done():
                if not again and _is_refused(carrying):
                    await self._look_around(before, reach)
                raise _why(carrying, reach)
            connection = await connecting
        except BaseException as error:
            connecting.cancel()
            carrying.cancel()
            way.close()
            if isinstance(error, HostKeyError):
                raise reach.known.revoked_error() from None
            if again:
                self._give_up_silent(before, heard)
            if isinstance(error, ConnectError) and error.kind == "timeout":
                text = f"connect to {visible(host)} port {port}: Connection timed out"
                raise ConnectError(text, kind="timeout") from None
            raise
        log.debug("Connection established.")
        carrying.add_done_callback(lambda _: _lost(way, connection))
        return connection

    async def _look_around(self, before: Link, reach: Reach) -> None:
        """QUIC has not answered. Raises Fallback if ssh does."""
        if not self._may_fall_back:
            return
        log.debug(f"no answer from {visible(reach.target.host)} so far; looking at TCP")
        if await _ssh_greets(before, reach.target):
            raise Fallback

    async def close(self) -> None:
        """After the last connection was closed: let that be known, then leave the hops, the farthest first."""
        for hop in reversed(self._hops):
            if hop.link is None:
                continue
            await asyncio.sleep(FAREWELL_S)
            with contextlib.suppress(QshError):
                await hop.link.close()


def _lost(way: _Way, connection: Connection) -> None:
    """The flow has ended. QUIC inside it would take that for silence, and wait."""
    connection.lose("the way through the jump host is gone", ABANDONED)
    way.close()


async def _ssh_greets(link: Link, target: addresses.Target) -> bool:
    """Whether sshd answers, seen from the hop."""
    stream = await link.connection.open_bi()
    try:
        async with asyncio.timeout(GREETING_S):
            request = Open("connect", target=Target(target.host, target.ssh_port))
            await stream.send.write(framing.encode(request))
            answer, _ = await read_frame(stream.recv, AnswerReader())
            return isinstance(answer, Opened) and await stream.recv.read(4) == b"SSH-"
    except (TimeoutError, QshError):
        return False
    finally:
        stream.abort()


def _is_refused(carrying: asyncio.Future[FlowEnd | Failed | None]) -> bool:
    end = None if carrying.exception() else carrying.result()
    return end is not None and not isinstance(end, Failed) and end.why == "reset"


def _why(carrying: asyncio.Future[FlowEnd | Failed | None], reach: Reach) -> ConnectError:
    """The flow has ended before the handshake."""
    host, port = visible(reach.target.host), reach.target.udp_port
    error = carrying.exception()
    end = None if error is not None else carrying.result()
    if isinstance(end, Failed):
        log.error(f"channel 0: {open_failed(end.code, visible(end.reason))}")
        return ConnectError(f"connect to {host} port {port}: the jump host cannot", kind="jump")
    reason = "the jump host is gone"
    if end is not None and end.why == "reset":
        reason = "Connection refused" if end.code == CODE_REFUSED else "no way there"
    elif isinstance(error, TransportError):
        reason = visible(str(error))
    return ConnectError(f"connect to {host} port {port}: {reason}", kind="jump")
