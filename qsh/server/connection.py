"""One client's connection in the front: HOSTAUTH, the control stream, the login, then channels (docs/protocol.md 3-7)."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qsh import __version__
from qsh.auth.keys import PublicKey
from qsh.clock import monotonic_s
from qsh.errors import (
    ChannelError,
    ProtocolError,
    RemoteProtocolError,
    StreamReset,
    TransportError,
)
from qsh.forward.windows import FIRST_STREAMS, ReceiveWindow
from qsh.server.address_watch import AddressWatch, Whereabouts
from qsh.server.channel import ServerChannel
from qsh.server.channel_audit import audit_channel
from qsh.server.failure_delay import failure_delay_s
from qsh.server.front_dialogue import judge
from qsh.server.links import HostLink
from qsh.server.login_table import LIMIT_S
from qsh.server.remote_forwards import RemoteForwards
from qsh.server.requests import Login, Outcome
from qsh.server.terminal_relay import PathReporter, is_farewell
from qsh.wire import framing
from qsh.wire.control import ServerControl
from qsh.wire.messages import (
    Auth,
    AuthAccepted,
    AuthContinue,
    AuthRefused,
    Banner,
    GoBack,
    HostAuth,
    KeyProofs,
    Listen,
    ProveKeys,
    Signal,
    Unlisten,
    WindowChange,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from qsh.quic import Connection, Stream
    from qsh.server.links import MonitorLink
    from qsh.server.log import Fields, Log
    from qsh.server.requests import Identity, MoveVerdict, Verdict
    from qsh.wire.messages import AuthQuestions, Message

__all__ = ["Limits", "ServerConnection"]

SOFTWARE: Final = f"qsh_{__version__}"
READ_BYTES: Final = 65536
OPEN_UNI: Final = 16
MAX_OPENING: Final = 32
"""Channel requests of a connection that are read at a time: the rest waits in the engine, whose windows bound it."""
MAX_RETIRED: Final = 1024
"""Connection ids that a client may retire at once, and one more each second. An honest one retires one when it moves; the engine
holds 160 bytes for each, and without a limit, if what replaces them is never acknowledged."""
MAX_METHOD: Final = 32
"""Characters of a method's name that the monitor is to see."""
MAX_EARLY: Final = 64
"""Window changes that may wait for their channel's stream, which can come after them."""
PRIORITY_CONTROL: Final = 30
"""Above a terminal's: bulk data must not hold up exits."""
SETTLE_S: Final = 1.0
SETTLE_ROUND_TRIPS: Final = 10
"""How long the validation of a new path may take: an address that does not answer is none of the client's."""
CODE_PROTOCOL: Final = 2
CODE_GRACE: Final = 3
CODE_TRIES: Final = 4
CODE_SERVER: Final = 5
CODE_ADDRESS: Final = 7


@dataclass(frozen=True, slots=True)
class Limits:
    """What applies before authentication."""

    grace_s: float
    salt: bytes
    banner: str = ""


@dataclass
class ServerConnection:
    """Runs one connection to its end. ``authenticated`` is called once, when the login is done."""

    connection: Connection
    identity: Identity
    monitor: MonitorLink
    limits: Limits
    server_address: tuple[str, int]
    authenticated: Callable[[], None]
    log: Log
    watch: AddressWatch = field(default_factory=AddressWatch)
    """Of all connections of the front."""
    penalise: Callable[[str], object] = str
    """Called with what the client's address is to be penalised for, when it has proven that it is there."""
    _wire: ServerControl = field(default_factory=ServerControl)
    _host: HostLink | None = None
    _path: PathReporter | None = None
    _receives: ReceiveWindow | None = None
    _remote: RemoteForwards | None = None
    _channels: dict[int, ServerChannel] = field(default_factory=dict)
    _newest: int = 0
    """The highest channel number seen so far."""
    _early: dict[int, WindowChange] = field(default_factory=dict)
    """The latest window change of each channel that is still to come."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _client: tuple[str, int] = field(init=False)
    """Where the handshake came from, which its completion proves. Later packets may move the connection to an address that
    nobody has proven yet: ``from=`` must not believe that one."""
    _opening: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_OPENING))
    _user: str = ""
    _cause: str = "noauth"
    """What ends without a login counts as (penalties.py); empty: it is not the client's fault."""
    _answered: bool = False
    """Questions, and the verdict is still to come."""
    _banner_due: bool = False
    _proves: bool = False
    _since_s: float = field(default_factory=monotonic_s)
    _where_now: Whereabouts | None = None
    _movements: int = -1
    """At the last look: as long as it stays, there is nothing to see."""
    _judging: bool = False
    """Whether the client may stay where it is."""
    _warned: str = ""
    """It has been told that it may not stay at this address."""
    _warn: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        host, port = self.connection.remote_address
        self._client = plain_ip(host), port
        self.watch.add(self._look)

    async def run(self) -> None:
        """Never raises for anything that the peer does."""
        code, reason, in_good_order = 0, "", False
        try:
            control = await asyncio.wait_for(self._greet(), self.limits.grace_s or LIMIT_S)
            await self._serve(control)
            in_good_order = True
        except TimeoutError:
            code, reason = CODE_GRACE, "grace-exceeded"
            self._cause = "grace-exceeded"
            self.log.info(
                f"Timeout before authentication for {self._where()}",
                **self._fields("login-timeout"),
            )
        except ProtocolError as error:
            code, reason = CODE_PROTOCOL, str(error)
            self.log.info(
                f"Protocol error from {self._where()}: {error}", **self._fields("protocol-error")
            )
        except ChannelError as error:
            code, reason = CODE_SERVER, str(error)
        except _TooManyTries:
            code, reason = CODE_TRIES, "too-many-attempts"
        except TransportError as error:
            in_good_order = is_farewell(error)
        finally:
            await self._end(code, reason, in_good_order)

    async def _end(self, code: int, reason: str, in_good_order: bool) -> None:
        if in_good_order:  # said before the sockets of the terminals are closed, which says less
            for channel in self._channels.values():
                channel.client_ended()
        self.watch.discard(self._look)
        self.connection.close(code, reason.encode()[:200])
        for task in self._tasks:
            task.cancel()
        if self._host is None and self._cause and self.connection.address_validated:
            self.penalise(self._cause)
        if self._host is not None:
            self._host.close()
            self.log.info(
                f"Disconnected from user {self._user} {self._where()}",
                **self._fields("disconnected"),
            )
        with contextlib.suppress(ChannelError):
            self.monitor.forget(self.connection.session_id, answered=self._answered)

    def _fields(self, event: str) -> Fields:
        address, port = self._client
        return {"event": event, "user": self._user, "address": address, "port": port}

    def _where(self) -> str:
        return f"{self._client[0]} port {self._client[1]}"

    # -- before authentication -------------------------------------------------------------------

    async def _greet(self) -> Stream:
        """HOSTAUTH, then everything up to the accepted login. The caller limits the time."""
        await self._send_host_auth()
        control = await self.connection.accept_bi()
        control.send.set_priority(PRIORITY_CONTROL)
        await control.send.write(self._wire.send_hello(SOFTWARE))
        self._banner_due = bool(self.limits.banner)
        instead = None
        while self._host is None:
            message = instead or await self._next_message(control)
            instead = await self._login(control, message) if isinstance(message, Auth) else None
        return control

    async def _next_message(self, control: Stream) -> Message:
        while (message := self._wire.next_message()) is None:
            data = await control.recv.read(READ_BYTES)
            if not data:
                raise TransportError("the client closed the control stream")
            self._wire.receive(data)
        return message

    async def _send_host_auth(self) -> None:
        key = self._own_key()
        stream = await self.connection.open_uni()
        message = HostAuth(
            key=key,
            signature=self.connection.host_signature,
            certificates=self.identity.certificates,
            other_keys=[other for other in self.identity.keys if other != key],
        )
        await stream.write(framing.encode(message))
        stream.finish()

    def _own_key(self) -> bytes:
        return PublicKey.from_spki(self.connection.peer_key).blob

    async def _login(self, control: Stream, auth: Auth) -> Auth | None:
        """What the client said instead of answering this one's questions."""
        started = monotonic_s()
        self._user = auth.user
        if self._banner_due:
            self._banner_due = False
            await control.send.write(self._wire.send(Banner(self.limits.banner)))
        request = Login(
            session_id=self.connection.session_id,
            user=auth.user,
            client=self._client,
            server=self.server_address,
            offers=[offer.blob for offer in auth.offers],
            proof=auth.proof,
            resume_key=auth.resume_key,
            resume=auth.resume,
            method=auth.method[:MAX_METHOD],
            connection_id=b"" if self.connection.on_stream else self.connection.first_id,
        )
        instead = None

        async def ask(questions: AuthQuestions) -> Message:
            await control.send.write(self._wire.send(questions))
            return await self._next_message(control)

        def answered() -> None:
            nonlocal started
            started = monotonic_s()
            self._answered, self._cause = True, "authfail"

        watch = asyncio.create_task(self._watch_client())
        try:
            if request.method:
                verdict, descriptor, instead = await judge(self.monitor, request, ask, answered)
            else:
                verdict, descriptor = await self.monitor.login(request)
        finally:
            watch.cancel()
        self._answered = False
        if instead is not None and not verdict.final and verdict.outcome != Outcome.ACCEPTED:
            return instead  # else it has its answer: no other may be asked for on this session id
        if verdict.outcome == Outcome.ACCEPTED and descriptor >= 0:
            self._let_in(descriptor)
            accepted = AuthAccepted(verdict.session, verdict.notices, verdict.resume)
            await control.send.write(self._wire.send(accepted))
        elif verdict.outcome == Outcome.ACCEPTED:
            self._cause = ""
            raise ChannelError("the server cannot start a session now")
        else:
            self._cause = verdict.penalty
            await self._refuse(control, verdict, auth.user, monotonic_s() - started)
        return None

    async def _refuse(self, control: Stream, verdict: Verdict, user: str, elapsed_s: float) -> None:
        """Or more is wanted. A refusal takes the same time for everybody."""
        for notice in verdict.notices:
            await control.send.write(self._wire.send(Banner(notice)))
        if verdict.outcome == Outcome.CONTINUE and not verdict.final:
            await control.send.write(self._wire.send(AuthContinue(acceptable=verdict.acceptable)))
            return
        partial = verdict.outcome == Outcome.PARTIAL
        if not partial:
            await asyncio.sleep(failure_delay_s(user, elapsed_s, self.limits.salt))
        refusal = AuthRefused(verdict.methods, verdict.final, partial)
        await control.send.write(self._wire.send(refusal))
        if verdict.final:
            control.send.finish()
            await control.send.acknowledged()
            raise _TooManyTries

    def _let_in(self, descriptor: int) -> None:
        self._host = HostLink(descriptor)
        self._path = PathReporter(self.connection, self._host)
        self._receives = ReceiveWindow(
            self.connection, bidi_streams=FIRST_STREAMS, uni_streams=OPEN_UNI
        )
        self._receives.begin()
        self.authenticated()
        self._where_now = Whereabouts(self._client)

    # -- a client that moves ---------------------------------------------------------------------

    def _look(self, now: float) -> bool:
        """Does it behave? Has it moved, and may it? False: there is nothing to see, for now."""
        movements = self.connection.movements
        if movements == self._movements and (self._where_now is None or self._where_now.still()):
            return False
        if self.connection.ids_retired > MAX_RETIRED + now - self._since_s:
            self.log.info(f"Protocol error from {self._where()}: connection ids without end")
            self.connection.close(CODE_PROTOCOL, b"bad-connection-ids")
            return True
        proven = self.connection.proven_address
        if self._where_now is None or self._judging or proven is None:
            return True
        # Not before: where it is not proven there is nothing to see yet.
        self._movements = movements
        host, port = proven
        found = self._where_now.look(now, (plain_ip(host), port), self._rtt_s)
        if found is None:
            return True
        if self._warned == found[0]:
            self.connection.close(CODE_ADDRESS, b"address-refused")
            return True
        self._judging = True
        with contextlib.suppress(ChannelError):
            self.monitor.moved(
                self.connection.session_id, found, lambda verdict: self._move(found, verdict)
            )
        return True

    def _rtt_s(self) -> float:
        return self.connection.stats()["rtt_us"] / 1e6

    def _move(self, address: tuple[str, int], verdict: MoveVerdict) -> None:
        self._judging = False
        if self._where_now is None or verdict.outcome == Outcome.CONTINUE:
            return
        if verdict.outcome == Outcome.ACCEPTED:
            self._where_now.approve(address)
        elif verdict.rules:
            self.connection.close(CODE_SERVER, b"address-rules")
        elif not self._warned and self._warn is not None:
            self._warned = address[0]
            self._warn()
        else:
            self.connection.close(CODE_ADDRESS, b"address-refused")

    async def _watch_client(self) -> None:
        """A client that leaves while its login is judged: nobody needs the judgement any more."""
        await self.connection.closed()
        self.monitor.abandon(self.connection.session_id)

    # -- after it --------------------------------------------------------------------------------

    async def _serve(self, control: Stream) -> None:
        if self._host is not None and self._receives is not None:
            self._remote = RemoteForwards(
                self.connection,
                self._host,
                self._receives.forward,
                lambda message: control.send.begin_write(self._wire.send(message)),
                self._spawn,
            )
        if "go-back" in self._wire.features:
            self._warn = lambda: control.send.put(self._wire.send(GoBack()))
        self._spawn(self._accept_channels(control))
        self._spawn(self._watch_host())
        self._spawn(self._watch_path())
        while True:
            while (message := self._wire.next_message()) is not None:
                if isinstance(message, ProveKeys):
                    self._prove(control)
                elif isinstance(message, Listen | Unlisten) and self._remote is not None:
                    await self._remote.request(message)
                self._handle(message)
            data = await control.recv.read(READ_BYTES)
            if not data:
                return
            self._wire.receive(data)

    def _handle(self, message: Message) -> None:
        if not isinstance(message, WindowChange | Signal):
            return
        channel = self._channels.get(message.channel)
        if channel is None:  # it has just ended, or is still to come
            if isinstance(message, WindowChange) and message.channel > self._newest:
                self._keep_early(message)
        elif isinstance(message, Signal):
            channel.signal(message)
        else:
            self._spawn(channel.resize(message))

    def _prove(self, control: Stream) -> None:
        """With all host keys, once: more is more than the monitor permits."""
        if self._proves:
            raise RemoteProtocolError("out-of-state", "ProveKeys again")
        self._proves = True
        self.monitor.prove(
            self.connection.session_id,
            lambda found: control.send.put(self._wire.send(KeyProofs(found))),
        )

    def _keep_early(self, change: WindowChange) -> None:
        if change.channel in self._early or len(self._early) < MAX_EARLY:
            self._early[change.channel] = change

    async def _watch_host(self) -> None:
        if self._host is not None:
            await self._host.lost
            self.connection.close(CODE_SERVER, b"session-lost")

    async def _watch_path(self) -> None:
        """Say where the client has gone, once it has shown that it is there."""
        known = self._client
        with contextlib.suppress(TransportError):
            while True:
                changed = self.connection.path_changed()
                host, port = self.connection.proven_address or known
                if (now := (plain_ip(host), port)) != known:
                    self.log.info(
                        f"Connection of user {self._user} moved from {known[0]} port {known[1]} to {now[0]} port {now[1]}"
                    )
                    known = now
                await changed
                self.watch.add(self._look)
                rtt_s = self.connection.stats()["rtt_us"] / 1e6
                await asyncio.sleep(SETTLE_S + SETTLE_ROUND_TRIPS * rtt_s)

    async def _accept_channels(self, control: Stream) -> None:
        while True:
            stream = await self.connection.accept_bi()
            if self._receives is not None:
                self._receives.accepted()
            self._spawn(self._run_channel(control, stream))

    async def _run_channel(self, control: Stream, stream: Stream) -> None:
        if self._host is None or self._path is None or self._receives is None:
            return
        channel = ServerChannel(
            self.connection,
            stream,
            self._host,
            self._opening,
            self._path.for_terminal,
            self._receives.forward,
            lambda request, refusal: audit_channel(
                self.log, self._fields("channel"), channel.number, request, refusal
            ),
        )
        self._channels[channel.number] = channel
        self._newest = max(self._newest, channel.number)
        if (early := self._early.pop(channel.number, None)) is not None:
            await channel.resize(early)  # only noted: it does not run yet
        try:
            ended = await channel.run()
            if ended is not None:
                await control.send.write(self._wire.send(ended))
        except ProtocolError as error:
            self.log.info(f"Protocol error from {self._where()}: {error}")
            self.connection.close(CODE_PROTOCOL, str(error).encode()[:200])
        except StreamReset:
            pass
        finally:
            self._channels.pop(channel.number, None)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The end of the connection is reported once, by its main task; anything else is a bug of ours, and one line."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, TransportError | ChannelError):
            self.log.error(f"connection of {self._where()}: {type(error).__name__}: {error}")


class _TooManyTries(Exception):
    """MaxAuthTries reached; the client has been told."""


def plain_ip(host: str) -> str:
    """An IPv4 address that came through a dual-stack socket, as people write it."""
    return host.removeprefix("::ffff:") if "." in host else host
