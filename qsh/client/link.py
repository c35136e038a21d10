"""One connection to a qshd: its control stream, and what arrives for its channels."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from qsh import __version__
from qsh.channels.frames import read_frame
from qsh.channels.session import ClientChannel
from qsh.client.log import log
from qsh.client.path_history import PathHistory
from qsh.client.text import visible, visible_lines
from qsh.errors import (
    AuthenticationError,
    ConnectionLost,
    QshError,
    RemoteProtocolError,
    TransportError,
)
from qsh.quic import Stream
from qsh.wire import flow, framing
from qsh.wire.channel import HeaderReader
from qsh.wire.control import ClientControl, State
from qsh.wire.messages import (
    Auth,
    AuthAccepted,
    AuthContinue,
    AuthQuestions,
    AuthRefused,
    Banner,
    Exit,
    ExitAck,
    GoBack,
    HostAuth,
    KeyProofs,
    Listening,
    ProveKeys,
    StderrHeader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from qsh.client.addresses import Address, Target
    from qsh.client.authenticate import Authenticator
    from qsh.client.leaving_udp import Streams
    from qsh.client.resume import Reopen
    from qsh.client.resume_key import ResumeFirst
    from qsh.client.roaming import Roaming
    from qsh.quic import Connection, RecvStream
    from qsh.wire.messages import Listen, Message, Open, Signal, Unlisten, WindowChange

__all__ = ["ABANDONED", "Link"]

_REASONS: Final = {
    "grace-exceeded": "the login took too long (LoginGraceTime)",
    "too-many-attempts": "Too many authentication failures",
    "address-refused": "the server does not take this login from the address that we have now",
    "address-rules": "other rules hold for the address that we have now",
}


class Link:
    """Made by :meth:`start`. All its tasks end with :meth:`close`."""

    def __init__(self, connection: Connection, history: PathHistory | None = None) -> None:
        """``history``: of the connections before this one."""
        self.connection = connection
        self.history = history or PathHistory()
        connection.endpoint.moved = self.history.migrated
        self._control = ClientControl()
        self._channels: dict[int, ClientChannel] = {}
        self._since_s = asyncio.get_running_loop().time()
        self._newest = 0
        """The highest channel number so far."""
        self._early_stderr: dict[int, RecvStream] = {}
        loop = asyncio.get_running_loop()
        self._host_auth: asyncio.Future[HostAuth] = loop.create_future()
        self._answers: asyncio.Queue[Message | QshError] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows: dict[int, Callable[[bytes], None]] = {}
        self.lost: asyncio.Future[ConnectionLost] = loop.create_future()
        """Done when the connection is gone."""
        self.server_software = ""
        self.forwards: Callable[[], list[str]] = list
        """Describes the forwarded connections, for ``~#``."""
        self.listening: Callable[[Listening], None] = lambda answer: None
        """Gets the answers to Listen."""
        self.stranded: Callable[[], None] = lambda: None
        """Called when no way leads to the host's address any more, and when those to its other addresses change."""
        self.seek_better: Callable[[Reopen | None], None] = lambda reopen: None
        """There seems to be a better way than this connection's, which is alive: try this, or what is tried after a loss."""
        self.roaming: Roaming | None = None
        """Follows the network's changes, a while after the login."""
        self._proofs: asyncio.Future[KeyProofs] = loop.create_future()

    def listen(self) -> None:
        """Start to read what the server sends on its own."""
        self._spawn(self._watch())
        self._spawn(self._accept_uni())

    async def open_control(self) -> None:
        """The first stream that the client opens."""
        stream = await self.connection.open_bi()
        self._send, self._recv = stream.send, stream.recv
        self._send.set_priority(_CONTROL_PRIORITY)

    # -- login

    @property
    def host_auth_now(self) -> HostAuth | None:
        """The same, if it is there."""
        told = self._host_auth.done() and not self._host_auth.cancelled()
        return self._host_auth.result() if told else None

    async def host_auth(self, limit_s: float) -> HostAuth | None:
        """The server's HOSTAUTH; None when it does not come in time."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._host_auth), limit_s)
        except TimeoutError:
            return None

    async def login(self, authenticator: Authenticator | ResumeFirst, first: Auth) -> AuthAccepted:
        """The whole dialogue. Raises AuthenticationError, TransportError, ProtocolError."""
        hello = self._control.send_hello(f"qsh_{__version__}")
        await self._send.write(hello + self._control.send(first))
        self._spawn(self._read_control())
        while True:
            answer = await self._answers.get()
            if isinstance(answer, QshError):
                raise answer
            if isinstance(answer, AuthAccepted):
                return answer
            if not isinstance(answer, AuthContinue | AuthRefused | AuthQuestions):
                continue
            auth = authenticator.answer(answer)
            if self.lost.done():
                raise self.lost.result()
            if auth is None:
                raise AuthenticationError(",".join(authenticator.methods))
            await self._send.write(self._control.send(auth))

    @property
    def other_keys(self) -> list[bytes]:
        """Host keys that the server says it has besides the one it has shown, as far as it has said so by now."""
        told = self.host_auth_now
        return [] if told is None else told.other_keys

    async def prove_keys(self) -> list[bytes]:
        """Signatures by which the server proves that it has them, in their order; none from one that does not know how to."""
        if "prove-keys" not in self._control.features:
            return []
        self.tell(ProveKeys())
        waited: set[asyncio.Future[Any]] = {self._proofs, self.lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return self._proofs.result().signatures if self._proofs.done() else []

    # -- channels

    async def open_channel(self, message: Open) -> ClientChannel:
        """Open a stream and ask for a channel on it; the answer is the channel's business."""
        frame = framing.encode(message)
        stream = await self.connection.open_bi()
        channel = ClientChannel(stream.send, stream.recv, self.tell)
        self._channels[channel.id] = channel
        self._newest = max(self._newest, channel.id)
        if (early := self._early_stderr.pop(channel.id, None)) is not None:
            channel.stderr_received(early)
        self._spawn(_ignore_loss(channel.open(frame)))
        return channel

    def forget(self, channel: ClientChannel) -> None:
        """It has ended, and others go on."""
        self._channels.pop(channel.id, None)

    def peel(self, channel: ClientChannel) -> int:
        """What is said on the channel from now on as a descriptor, which the caller owns."""
        return Stream(self.connection, channel.send.native, channel.recv.native).peel()

    def open_flow(self, number: int, take: Callable[[bytes], None]) -> None:
        """Datagrams of this flow go to ``take`` from now on."""
        if not self._flows:
            self.connection.each_datagram(self._received_datagram)
        self._flows[number] = take

    def tell(
        self, message: WindowChange | Signal | ExitAck | Listen | Unlisten | ProveKeys
    ) -> None:
        """Queue a message on the control stream."""
        if self._control.state is State.OPEN:
            self._spawn(_ignore_loss(self._send.write(self._control.send(message))))

    def stay(self) -> None:
        """Keep the connection alive. A short command does without it."""
        asyncio.get_running_loop().call_later(_STAY_S, self._stay)

    def _stay(self) -> None:
        if not self.lost.done():
            from qsh.client.staying import keep_alive

            self._spawn(keep_alive(self))

    def roam(
        self,
        target: Target,
        source: str | None,
        others: Sequence[Address],
        *,
        choosy: bool = False,
        seek: Callable[[Address], None] | None = None,
        streams: Streams | None = None,
    ) -> None:
        """Follow the network's changes from soon on: what a short command does is over before.

        ``choosy``: a way that is merely better is taken, too. ``seek`` begins a second connection, to this address.
        ``streams``: what may carry the connection where UDP does not.
        """
        loop = asyncio.get_running_loop()

        def begin() -> None:
            if self.lost.done():
                return
            from qsh.client.roaming import Elsewhere, Roaming

            elsewhere = Elsewhere(seek, self.forwards, streams, choosy=choosy)
            roaming = self.roaming = Roaming(
                self.connection, self.history, target, source, others, self._strand, elsewhere
            )
            self.lost.add_done_callback(lambda _: roaming.close())

        timer = loop.call_later(_ROAM_S, begin)
        self.lost.add_done_callback(lambda _: timer.cancel())

    def _strand(self) -> None:
        self.stranded()

    def describe_channels(self) -> list[str]:
        """For ``~#``."""
        return [*(f"#{number} session" for number in sorted(self._channels)), *self.forwards()]

    def information(self) -> str:
        """For ``~I`` and ``~s``; lines that end with CR LF."""
        from qsh.client.connection_info import connection_info

        return connection_info(self.connection, self.history, self._age_s, self._unanswered_s)

    def figures(self) -> dict[str, Any]:
        """For ``qshctl status``."""
        from qsh.client.connection_info import figures

        return figures(self.connection, self.history, self._age_s, self._unanswered_s)

    @property
    def _unanswered_s(self) -> float:
        return 0.0 if self.roaming is None else self.roaming.unanswered_s

    @property
    def _age_s(self) -> float:
        return asyncio.get_running_loop().time() - self._since_s

    # -- the end

    async def close(self, code: int = 0, reason: bytes = b"") -> None:
        """Close, and wait until the packet that says so is out.

        That packet is sent once. While a program still runs, its loss would leave the program alone for QshExecMax; so
        the end of the control stream, which is sent until it is acknowledged, goes first.
        """
        if not self.lost.done() and any(channel.running for channel in self._channels.values()):
            await self._end_control()
        self.connection.close(code, reason)
        if not self.lost_by_peer:
            await self.connection.flushed()

    async def _end_control(self) -> None:
        self._send.finish()
        with contextlib.suppress(TransportError, TimeoutError):
            await asyncio.wait_for(self._send.acknowledged(), _FAREWELL_S)

    @property
    def lost_by_peer(self) -> bool:
        """The connection was gone before we closed it: nobody has to be told."""
        return self.lost.done() and self.lost.result().kind != "closed-locally"

    # -- readers

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, QshError):
            self._fail(ConnectionLost(f"internal error: {type(error).__name__}: {error}"))

    async def _watch(self) -> None:
        kind, code, text = await self.connection.closed()
        self._fail(_why(kind, code, text))

    def _fail(self, error: QshError) -> None:
        log.debug(f"connection: {error}", 2)
        if not self.lost.done():
            lost = error if isinstance(error, ConnectionLost) else ConnectionLost(str(error))
            self.lost.set_result(lost)
        if not self._host_auth.done():
            self._host_auth.cancel()
        self._answers.put_nowait(error)
        for channel in self._channels.values():
            channel.lost(error)

    async def _accept_uni(self) -> None:
        while True:
            recv = await self.connection.accept_uni()
            self._spawn(self._read_header(recv))

    def _received_datagram(self, data: bytes) -> None:
        found = flow.split(data)
        if found is None or (take := self._flows.get(found[0])) is None:
            return
        try:
            take(found[1])
        except QshError:
            pass
        except Exception as error:  # a bug of ours is told as a loss: nobody waits for a datagram
            self._fail(ConnectionLost(f"internal error: {type(error).__name__}: {error}"))

    async def _read_header(self, recv: RecvStream) -> None:
        try:
            header, _ = await read_frame(recv, HeaderReader())
        except RemoteProtocolError as error:
            self._protocol_error(error)
            return
        if isinstance(header, HostAuth):
            if not self._host_auth.done():
                self._host_auth.set_result(header)
            recv.stop(0)
        elif isinstance(header, StderrHeader):
            channel = self._channels.get(header.channel)
            if channel is not None:
                channel.stderr_received(recv)
            elif header.channel > self._newest:
                self._early_stderr[header.channel] = recv
            else:  # of a channel that is forgotten
                recv.stop(0)

    async def _read_control(self) -> None:
        try:
            while data := await self._recv.read():
                for message in self._control.receive(data):
                    self._take(message)
        except RemoteProtocolError as error:
            self._protocol_error(error)
            return
        self._protocol_error(RemoteProtocolError("truncated", "the control stream ended"))

    def _protocol_error(self, error: RemoteProtocolError) -> None:
        if not self.lost.done():
            self.connection.close(_PROTOCOL_ERROR, error.code.encode())
            self._fail(ConnectionLost(f"protocol error: {visible(str(error))}", kind="protocol"))

    def _take(self, message: Message) -> None:
        if isinstance(message, Exit):
            channel = self._channels.get(message.channel)
            if channel is not None:
                channel.exit_received(message)
        elif isinstance(message, Banner):
            if log.level >= _BANNER_LEVEL:
                log.plain(visible_lines(message.text))
        elif isinstance(message, AuthAccepted | AuthContinue | AuthQuestions | AuthRefused):
            self._answers.put_nowait(message)
        elif isinstance(message, Listening):
            self.listening(message)
        elif isinstance(message, GoBack):
            if self.roaming is not None:
                self.roaming.refused_here()
        elif isinstance(message, KeyProofs):
            if not self._proofs.done():
                self._proofs.set_result(message)
        else:
            self.server_software = visible(self._control.peer_software)
            log.debug(f"Remote software version {self.server_software}")


_CONTROL_PRIORITY: Final = 100
_STAY_S: Final = 10.0
"""From a login to thoughts of the keep-alive: no NAT forgets sooner."""
_FAREWELL_S: Final = 0.3
"""How long an ended client waits for the server to hear of it: a dead connection must not hold it up."""
ABANDONED: Final = 6
"""Application close code of a connection that is given up without ending what runs in its terminals."""
_ROAM_S: Final = 0.2
"""After the login: then its own work is done."""
_PROTOCOL_ERROR: Final = 1
"""Application close code of errors that the reason names (docs/protocol.md 9)."""
_BANNER_LEVEL: Final = 3


async def _ignore_loss(work: Coroutine[object, object, None]) -> None:
    try:
        await work
    except QshError as error:
        log.debug(str(error), 2)


def _why(kind: str, code: int, text: str) -> ConnectionLost:
    """The end of a connection in words."""
    if kind == "closed-by-peer":
        name = visible(text)
        known = _REASONS.get(text)
        return ConnectionLost(f"{known} ({name})" if known else name, kind=kind, code=code)
    if kind == "timeout":
        return ConnectionLost("Timeout, server not responding.", kind=kind, code=code)
    if kind == "reset-by-peer":
        return ConnectionLost("Connection reset by peer", kind=kind, code=code)
    return ConnectionLost(visible(text) or kind, kind=kind, code=code)
