"""The front: owns the UDP sockets and everything that an unauthenticated peer can reach. No rights, no keys, empty root.

Its life: imports, confinement, then asyncio until the monitor goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import signal
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from qsh.auth.keys import PublicKey
from qsh.clock import monotonic_s
from qsh.errors import ChannelError, TransportError
from qsh.quic import Driver, Signer, server_endpoint, warm_up
from qsh.server import confinement, imports, left_clients
from qsh.server.address_watch import AddressWatch
from qsh.server.admission import Admission, Decision
from qsh.server.connection import Limits, ServerConnection, plain_ip
from qsh.server.front_secrets import reset_key_at
from qsh.server.front_streams import LOOK_S, FrontStreams, take_streams
from qsh.server.links import MonitorLink
from qsh.server.packets import raise_descriptor_limit
from qsh.server.penalties import REASONS
from qsh.server.process import close_others, set_title
from qsh.server.reloading import address_of, set_level
from qsh.server.requests import Counts, Identity, NewListener, Penalised, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from qsh.quic import Endpoint, Incoming
    from qsh.server.log import Log
    from qsh.server.requests import Address

__all__ = ["FrontSettings", "run"]

FRONT_USER: Final = "qsh"
SPARE_UID: Final = 61789
"""Used when there is no user ``qsh``: from the range that systemd gives to dynamic users."""
SIGN_DEADLINE_MS: Final = 250
"""50 ms were missed now and then on two busy cores, when the monitor signed; a refused handshake costs far more."""
STREAM_WINDOW: Final = 8 * 1024 * 1024
WINDOW_BEFORE_AUTH: Final = 256 * 1024
BIDI_BEFORE_AUTH: Final = 8
"""The control stream, and the channels that a client opens before it knows that it is in."""
MAX_WORKERS: Final = 4
"""Native threads, at most; half the cores, since programs need the others. On two cores one moves a download 1.1 times
as fast as two."""
NEVER_S: Final = 30 * 86400.0
"""Stands for "no limit" where the engine needs a number."""
FAREWELL_S: Final = 1.0
"""From the end of a connection to that of the stream that it came on: its last packets get through."""


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """What the front needs to know of the configuration."""

    grace_s: float
    idle_s: float
    """Silence after which a connection counts as lost (QshExecMax); 0: never."""
    congestion: str
    """own or cubic"""
    banner: str
    admission: Admission
    reset_key: bytes
    token_key: bytes
    salt: bytes


def run(
    monitor: socket.socket,
    sign: socket.socket,
    listeners: list[socket.socket],
    settings: FrontSettings,
    log: Log,
) -> NoReturn:
    """Be the front; ends the process. ``listeners``: UDP sockets, and TCP ones for packets in streams."""
    set_title("qshd-front")
    log.role = "qshd-front"
    keep = {monitor.fileno(), sign.fileno(), *(sock.fileno() for sock in listeners)}
    close_others(keep | log.descriptors)
    raise_descriptor_limit()
    if os.geteuid() == 0:
        confinement.drop_to(FRONT_USER, SPARE_UID, log)
    imports.forbid()
    confinement.confine("front", log)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    status = 0
    try:
        asyncio.run(_Front(settings, log).run(monitor, sign, listeners))
    except (TransportError, ChannelError, OSError) as error:
        log.fatal(f"front: {error}")
        status = 1
    os._exit(status)


COUNT_S: Final = 1.0
WITHHELD: Final = 100
"""Packets kept back that are worth a line in the log, and how long the next line waits. Who moves may lose a few."""
WITHHELD_S: Final = 600.0


class _Front:
    def __init__(self, settings: FrontSettings, log: Log) -> None:
        self._settings, self._log = settings, log
        self._admission = settings.admission
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = 0
        self._watch = AddressWatch()
        self._streams = FrontStreams()
        self._endpoints: dict[Address, Endpoint] = {}
        """That take new connections; an endpoint that takes none any more lives until its last has ended."""
        self._taking: dict[Address, asyncio.Task[None]] = {}
        """Of listeners for packets in streams."""
        self._retired: set[Endpoint] = set()
        self._gone = asyncio.Event()
        self._withheld, self._withheld_until = 0, 0.0
        self._link: MonitorLink | None = None

    async def run(
        self, monitor: socket.socket, sign: socket.socket, listeners: list[socket.socket]
    ) -> None:
        udp = [sock for sock in listeners if sock.type == socket.SOCK_DGRAM]
        tcp = [sock for sock in listeners if sock.type == socket.SOCK_STREAM]
        gone = self._gone
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
        link = MonitorLink(monitor, gone.set)
        link.reloaded = self._reloaded
        warm_up()
        driver = Driver(worker_threads=max(1, min(MAX_WORKERS, (os.cpu_count() or 1) // 2)))
        self._identify(await link.identity, sign)
        self._link = link
        for each in link.penalised:
            self._admission.penalties.restore(
                monotonic_s(), each.source, each.until, active=each.active
            )
        link.penalised.clear()
        serve = functools.partial(self._accept, link=link)
        self._open = functools.partial(self._open_endpoint, driver, serve, streams=bool(tcp))
        again = [sock.dup() for sock in udp] if link.left else []
        for sock in udp:
            self._open(sock)
        if link.left:
            self._spawn(left_clients.tell(link.left, again, self._settings.reset_key))
        for sock in tcp:
            self._take_streams(sock)
        if tcp:
            self._spawn(self._watch_streams())
        self._spawn(self._count(link))
        await gone.wait()
        every = [*self._endpoints.values(), *self._retired]
        for endpoint in every:
            endpoint.close(0, b"server-stopped")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                for endpoint in every:
                    await endpoint.wait_idle()
        driver.close()

    def _identify(self, identity: Identity, sign: socket.socket) -> None:
        """Who we are to connections to come."""
        keys = [PublicKey.from_blob(key).spki() for key in identity.keys]
        self._identity, self._signer = identity, Signer(keys, sign.fileno(), SIGN_DEADLINE_MS)
        sign.close()

    def _open_endpoint(
        self,
        driver: Driver,
        serve: Callable[[Endpoint, tuple[str, int]], Coroutine[Any, Any, None]],
        sock: socket.socket,
        *,
        streams: bool,
    ) -> None:
        endpoint = server_endpoint(
            driver,
            sock,
            reset_key=reset_key_at(self._settings.reset_key, address_of(sock)),
            token_key=self._settings.token_key,
            idle_s=self._settings.idle_s or NEVER_S,
            congestion=self._settings.congestion,
            bidi_streams=BIDI_BEFORE_AUTH,
            uni_streams=0,
            stream_window=STREAM_WINDOW,
            connection_window=WINDOW_BEFORE_AUTH,
            streams=streams,
        )
        host, port = endpoint.local_address
        self._log.info(f"Server listening on {plain_ip(host)} port {port}.")
        self._endpoints[address_of(sock)] = endpoint
        accepting = self._spawn(serve(endpoint, (plain_ip(host), port)))
        accepting.add_done_callback(lambda _: self._deaf(endpoint))
        sock.close()

    def _deaf(self, endpoint: Endpoint) -> None:
        """A front that does not hear where it should is to be replaced."""
        if endpoint in self._endpoints.values():
            self._gone.set()

    def _take_streams(self, sock: socket.socket) -> None:
        host, port = sock.getsockname()[:2]
        self._log.info(f"Server listening on {plain_ip(host)} port {port} (TCP).")
        beside = _beside(host, list(self._endpoints.values()))
        taking = take_streams(
            sock, beside, self._is_welcome, self._stream_ended, self._not_accepted
        )
        self._taking[address_of(sock)] = self._spawn(taking)
        self._taking[address_of(sock)].add_done_callback(lambda _: sock.close())

    async def _watch_streams(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._streams.look([*self._endpoints.values(), *self._retired])

    # -- a configuration that was read again -----------------------------------------------------

    def _reloaded(self, message: NewListener | Rules | Identity, descriptors: list[int]) -> None:
        """One socket more, or the rules or host keys for what begins from now on."""
        if isinstance(message, Identity):
            if descriptors:
                self._identify(message, socket.socket(fileno=descriptors.pop()))
            return
        if isinstance(message, Rules):
            set_level(self._log, message.level)
            self._admission.limits = message.limits
            self._settings = replace(self._settings, grace_s=message.grace_s, banner=message.banner)
            self._retire(set(message.listening))
        for descriptor in descriptors:
            sock = socket.socket(fileno=descriptor)
            address = address_of(sock)
            if address in self._endpoints or address in self._taking:
                sock.close()  # this front was started with it
            elif sock.type == socket.SOCK_STREAM:
                self._take_streams(sock)
            else:
                try:
                    self._open(sock)
                except (TransportError, OSError) as error:
                    self._log.error(f"cannot serve {address[0]} port {address[1]}: {error}")
                    sock.close()

    def _retire(self, listening: set[Address]) -> None:
        for address in [a for a in self._taking if a not in listening]:
            self._taking.pop(address).cancel()
        for address in [a for a in self._endpoints if a not in listening]:
            endpoint = self._endpoints.pop(address)
            host, port = endpoint.local_address
            self._log.info(f"no new connections on {plain_ip(host)} port {port}")
            self._retired.add(endpoint)
            self._spawn(self._close_idle(endpoint))

    async def _close_idle(self, endpoint: Endpoint) -> None:
        await endpoint.wait_idle()
        self._retired.discard(endpoint)
        endpoint.close()
        del endpoint
        loop = asyncio.get_running_loop()
        loop.call_later(FAREWELL_S, gc.collect)  # its last connections hold it, and each other

    async def _count(self, link: MonitorLink) -> None:
        """Tell the monitor what has changed, for its metrics."""
        before = None
        while True:
            admission = self._admission
            waiting, penalties = admission.unauthenticated, admission.penalties
            counts = Counts(
                dict(admission.counts),
                waiting,
                admission.connections - waiting,
                dict(penalties.counts),
                len(penalties),
            )
            if counts != before:
                with contextlib.suppress(ChannelError):
                    link.counts(counts)
                before = counts
            self._tell_withheld()
            await asyncio.sleep(COUNT_S)

    def _tell_withheld(self) -> None:
        """That somebody tries to have this host send to others, but not for each packet."""
        now = monotonic_s()
        if now < self._withheld_until:
            return
        withheld = sum(each.withheld for each in [*self._endpoints.values(), *self._retired])
        if withheld - self._withheld < WITHHELD:
            return
        self._log.info(
            f"{withheld - self._withheld} packets kept back from addresses at which no client is known to be"
        )
        self._withheld, self._withheld_until = withheld, now + WITHHELD_S

    def _stream_ended(self, host: str, end: asyncio.Future[tuple[str, bytes]]) -> None:
        if not end.cancelled() and end.exception() is None:
            self._log.debug(f"TCP connection from {plain_ip(host)}: {end.result()[0]}")

    def _not_accepted(self, error: OSError) -> None:
        self._log.debug(f"TCP: {error.strerror or error}")

    # -- penalties -------------------------------------------------------------------------------

    def _is_welcome(self, host: str) -> bool:
        """Whether a TCP connection from there is worth a stream."""
        return not self._admission.is_penalised(monotonic_s(), plain_ip(host))

    def _penalise(self, address: str, cause: str) -> None:
        """A connection from there ended without a login. Told when its source is refused from now on."""
        now = monotonic_s()
        penalty = self._admission.penalise(now, address, cause)
        if penalty is None:
            return
        if self._link is not None and not penalty.is_full:
            with contextlib.suppress(ChannelError):
                until = now + penalty.seconds
                self._link.penalise(Penalised(penalty.source, until, penalty.is_active))
        about = f"{penalty.source} {REASONS[cause]}"
        if penalty.is_full:
            self._log.verbose(f"penalties: no room for another source: {about}")
        elif penalty.is_new:
            self._log.info(
                f"penalties: {about}: refused for {penalty.seconds:.0f} s",
                event="penalty",
                address=address,
                cause=cause,
            )
        else:
            self._log.debug(f"penalties: {about}: {penalty.seconds:.0f} s")

    async def _accept(
        self,
        endpoint: Endpoint,
        local: tuple[str, int],
        link: MonitorLink,
    ) -> None:
        while (incoming := await endpoint.accept()) is not None:
            if endpoint in self._retired:
                incoming.refuse()
                continue
            host, _ = incoming.remote_address
            decision = self._admission.decide(
                monotonic_s(), plain_ip(host), incoming.address_validated
            )
            if decision is Decision.ACCEPT:
                self._numbers += 1
                self._admission.begin(self._numbers, plain_ip(host))
                self._spawn(self._serve(self._numbers, incoming, local, link))
            elif decision is Decision.RETRY:
                incoming.retry()
            elif decision is Decision.REFUSE:
                incoming.refuse()
                self._close_stream(endpoint, incoming.stream)
            else:
                incoming.ignore()

    async def _serve(
        self,
        number: int,
        incoming: Incoming,
        local: tuple[str, int],
        link: MonitorLink,
    ) -> None:
        identity = self._identity
        address = plain_ip(incoming.remote_address[0])
        self._streams.begin(number, incoming)
        try:
            connection = await incoming.accept(self._signer)
            self._streams.connected(number, connection)
            await ServerConnection(
                connection=connection,
                identity=identity,
                monitor=link,
                limits=Limits(self._settings.grace_s, self._settings.salt, self._settings.banner),
                server_address=(plain_ip(connection.local_ip or local[0]), local[1]),
                authenticated=lambda: self._admission.authenticated(number),
                log=self._log,
                watch=self._watch,
                penalise=lambda cause: self._penalise(address, cause),
            ).run()
        except TransportError as error:
            self._log.debug(f"handshake with {address} failed: {error}")
            if incoming.address_validated:
                self._penalise(address, "noauth")
        finally:
            self._admission.end(number)
            self._streams.end(number)
            self._close_stream(incoming.endpoint, incoming.stream)

    def _close_stream(self, endpoint: Endpoint, number: int) -> None:
        """Soon. A connection that has moved to another stream or to UDP has left it already."""
        if number:
            asyncio.get_running_loop().call_later(FAREWELL_S, endpoint.close_stream, number)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._log.error(f"front: {type(error).__name__}: {error}")


def _beside(host: str, endpoints: list[Endpoint]) -> Endpoint:
    """The endpoint that takes a listener's streams: that of the same address, so that a client can move to UDP there."""
    for endpoint in endpoints:
        if plain_ip(endpoint.local_address[0]) == plain_ip(host):
            return endpoint
    return endpoints[0]
