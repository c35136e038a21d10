"""-R: the host listens; each connection comes as a stream and is led on from here (docs/protocol.md 11.7)."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from qsh.client import dialing
from qsh.client.forward_targets import shown, target_of
from qsh.client.log import log
from qsh.client.server_streams import end, refuse
from qsh.client.text import visible
from qsh.errors import ForwardError, RemoteProtocolError, TransportError
from qsh.forward.failure import NOT_PERMITTED, Failure, of_error
from qsh.forward.permits import NOTHING, opens, permits
from qsh.forward.relay import Relay
from qsh.forward.socks import Negotiation
from qsh.wire import framing
from qsh.wire.messages import Listen, Opened, Target, Unlisten

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.channel_numbers import ChannelNumbers
    from qsh.client.link import Link
    from qsh.client.server_streams import ServerStreams
    from qsh.config.forwards import Forward
    from qsh.config.options import ClientOptions
    from qsh.forward.windows import ReceiveWindow
    from qsh.quic import Stream
    from qsh.wire.messages import Listening, Open

__all__ = ["RemoteForwards"]

RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 15.0
"""Between requests on a later connection: the port may still belong to the one before, until the host knows that it is dead."""

MAX_IDLE_S: Final = 0xFFFF
"""What Listen can say."""


class _Wanted:
    """One -R."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.port = forward.listen_port
        """Where the host listens: an allocated port is asked for again."""
        self.failed = False
        """Or cancelled: nothing is led on."""


class RemoteForwards:
    """:meth:`use` a connection, then :meth:`ask`."""

    def __init__(
        self, options: ClientOptions, numbers: ChannelNumbers, streams: ServerStreams
    ) -> None:
        self._options, self._numbers, self._streams = options, numbers, streams
        self._wanted = [_Wanted(forward) for forward in options.remote_forward]
        self._link: Link | None = None
        self._receives: ReceiveWindow | None = None
        self._answers: dict[int, asyncio.Future[Listening]] = {}
        if self._wanted:
            streams.servers["accepted"] = self._serve

    @property
    def wanted(self) -> bool:
        """There is something to ask for."""
        return bool(self._wanted)

    def use(self, link: Link, receives: ReceiveWindow) -> None:
        """Take what the host leads here through this connection."""
        self._link, self._receives = link, receives
        self._answers.clear()
        link.listening = self._answered

    async def ask(self) -> None:
        """Let the host listen. Raises ForwardError if it does not and ExitOnForwardFailure is set, ConnectionLost."""
        for number, wanted in enumerate(self._wanted):
            self._request(number, wanted)
        for number, wanted in enumerate(self._wanted):
            answer = await self._answer(number)
            wanted.failed = bool(answer.code)
            if wanted.failed:
                self._complain(wanted.forward, answer)
            else:
                _tell_success(wanted, answer.port)

    async def add(self, forward: Forward) -> int:
        """One more, or one that is there already; the port if the host chose it. Raises ForwardError, ConnectionLost."""
        for wanted in self._wanted:
            if wanted.forward == forward and not wanted.failed:
                return 0 if forward.listen_port else wanted.port
        assert self._link is not None  # noqa: S101 - see use()
        self._streams.servers["accepted"] = self._serve
        self._streams.accept(self._link)
        wanted = _Wanted(forward)
        self._wanted.append(wanted)
        number = len(self._wanted) - 1
        self._request(number, wanted)
        answer = await self._answer(number)
        wanted.failed = bool(answer.code)
        if wanted.failed:
            log.debug(
                f"remote forward failure for: {_listens_on(forward)}: {visible(answer.reason)}"
            )
            raise ForwardError(f"remote port forwarding failed for {_listens_on(forward)}")
        log.debug(f"remote forward success for: {_listens_on(forward)}")
        if forward.listen_path is None and forward.listen_port == 0:
            wanted.port = answer.port
            return answer.port
        return 0

    def cancel(self, matches: Callable[[Forward], bool]) -> bool:
        """Let the host listen no more for those that match; whether there was one."""
        found = [
            (number, wanted)
            for number, wanted in enumerate(self._wanted)
            if not wanted.failed and matches(wanted.forward)
        ]
        for number, wanted in found:
            wanted.failed = True
            if self._link is not None:
                self._link.tell(Unlisten(number))
        return bool(found)

    def ask_again(self) -> None:
        """On a later connection, beside everything else, what was had before."""
        for number, wanted in enumerate(self._wanted):
            if not wanted.failed and self._link is not None:
                self._streams.spawn(self._insist(self._link, number, wanted))

    async def _insist(self, link: Link, number: int, wanted: _Wanted) -> None:
        pause_s = RETRY_S
        while not link.lost.done():
            self._request(number, wanted)
            answer = await self._answer(number)
            if not answer.code:
                log.debug(f"remote forward success again for: {_listens_on(wanted.forward)}")
                return
            log.debug(
                f"remote forward again for {_listens_on(wanted.forward)}: {visible(answer.reason)}"
            )
            await asyncio.wait({link.lost}, timeout=pause_s)
            pause_s = min(2 * pause_s, MAX_RETRY_S)

    def _request(self, number: int, wanted: _Wanted) -> None:
        assert self._link is not None  # noqa: S101 - see use()
        forward = wanted.forward
        if forward.listen_path is not None:
            target = Target(path=os.fsencode(forward.listen_path))
        else:
            target = Target(_listen_host(forward.listen_host), wanted.port)
        log.debug(
            f"Remote connections from {forward.listen_path or forward.listen_host or 'LOCALHOST'}:{wanted.port} "
            f"forwarded to local address {forward.connect_path or forward.connect_host}:{forward.connect_port}"
        )
        self._answers[number] = asyncio.get_running_loop().create_future()
        idle_s = min(self._options.qsh_udp_timeout, MAX_IDLE_S)
        self._link.tell(Listen(number, target, forward.udp, idle_s))

    async def _answer(self, number: int) -> Listening:
        assert self._link is not None  # noqa: S101 - see use()
        answer, lost = self._answers[number], self._link.lost
        waited: set[asyncio.Future[Any]] = {answer, lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise lost.result()
        return answer.result()

    def _answered(self, answer: Listening) -> None:
        future = self._answers.get(answer.listener)
        if future is not None and not future.done():
            future.set_result(answer)

    def _complain(self, forward: Forward, answer: Listening) -> None:
        log.debug(f"remote forward failure for: {_listens_on(forward)}: {visible(answer.reason)}")
        text = f"remote port forwarding failed for {_listens_on(forward)}"
        if self._options.exit_on_forward_failure:
            raise ForwardError(f"Error: {text}")
        log.info(f"Warning: {text}")

    # -- connections

    async def _serve(self, link: Link, stream: Stream, request: Open) -> None:
        assert self._receives is not None  # noqa: S101 - see use()
        forward = self._forward_of(request)
        if forward is None:
            log.debug(f"server request to open {visible(request.kind)} channel refused")
            await refuse(stream, NOT_PERMITTED)
            return
        if forward.udp:
            await self._serve_udp(stream, request, forward)
            return
        kind = "forwarded-streamlocal" if forward.listen_path is not None else "forwarded-tcpip"
        origin = "" if request.origin is None else f", connect from {shown(request.origin)}"
        text = f"{kind}: listening {_listens_on(forward)}{origin}"
        log.debug(f"client_request_{kind.replace('-', '_')}: {_listens_on(forward)}{origin}")
        with self._receives.forward(), self._numbers.one(text) as number:
            if forward.dynamic:
                await self._serve_socks(number, stream)
                return
            target = target_of(forward)
            sock = await _reach(target)
            if isinstance(sock, Failure):
                await refuse(stream, sock)
                return
            await _join(stream, sock, framing.encode(Opened()))

    async def _serve_udp(self, stream: Stream, request: Open, forward: Forward) -> None:
        assert self._link is not None  # noqa: S101 - see use()
        from qsh.forward.udp_flow import described, join

        target = target_of(forward)
        origin = "" if request.origin is None else f", datagrams from {shown(request.origin)}"
        text = f"forwarded-udp: {_listens_on(forward)} for {shown(target)}{origin}"
        with self._numbers.one(text, holds=False) as number:
            log.debug(f"channel {number}: {text}")
            sock = await _reach(target, udp=True)
            if isinstance(sock, Failure):
                await refuse(stream, sock)
                return
            first = framing.encode(Opened())
            end = await join(self._link.connection, stream, sock, first, request.by_stream)
            log.debug(f"channel {number}: {described(end)}")

    def _forward_of(self, request: Open) -> Forward | None:
        if request.kind != "accepted" or request.listener >= len(self._wanted):
            return None
        wanted = self._wanted[request.listener]
        return None if wanted.failed else wanted.forward

    async def _serve_socks(self, number: int, stream: Stream) -> None:
        """The host's programs say where to, and we have the last word (PermitRemoteOpen)."""
        await stream.send.write(framing.encode(Opened()))
        socks = Negotiation()
        try:
            while socks.target is None:
                answer = socks.receive(await stream.recv.read(socks.needed))
                if answer:
                    await stream.send.write(answer)
        except RemoteProtocolError as error:
            log.debug(f"channel {number}: {error}")
            await end(stream, socks.refusal)
            return
        target = Target(*socks.target)
        log.debug(f"dynamic request: socks{socks.version} {shown(target)}", 2)
        sock = await _reach(target) if self._permits(target) else NOT_PERMITTED
        if isinstance(sock, Failure):
            await end(stream, socks.refused(sock.code, sock.detail))
            return
        await _join(stream, sock, socks.granted())

    def _permits(self, target: Target) -> bool:
        words = self._options.permit_remote_open
        if words in ((), ("any",)):
            return True
        return words != NOTHING and any(
            opens(permit, target.host, target.port) for permit in permits(words)
        )


async def _reach(target: Target, *, udp: bool = False) -> socket.socket | Failure:
    try:
        return await (dialing.connect_udp(target) if udp else dialing.connect(target))
    except socket.gaierror as error:
        failure = of_error(error)
        log.error(f"connect_to {visible(target.host)}: unknown host ({failure.reason})")
    except OSError as error:
        failure = of_error(error)
        where = visible(os.fsdecode(target.path)) if target.path else shown(target)
        log.error(f"connect_to {where}: failed.")
        log.debug(f"connect_to {where}: {failure.reason}")
    return failure


async def _join(stream: Stream, sock: socket.socket, first: bytes) -> None:
    relay = Relay(stream, sock)
    await relay.open(first)
    try:
        await relay.run()
    except TransportError as error:
        log.debug(str(error), 2)


def _listen_host(host: str | None) -> str:
    """As the wire has it: "" is everywhere (channels.c, channel_rfwd_bind_host)."""
    if host is None:
        return "localhost"
    return "" if host == "*" else host


def _listens_on(forward: Forward) -> str:
    if forward.listen_path is not None:
        return f"listen path {visible(forward.listen_path)}"
    return f"listen {'udp ' * forward.udp}port {forward.listen_port}"


def _tell_success(wanted: _Wanted, port: int) -> None:
    forward = wanted.forward
    log.debug(f"remote forward success for: {_listens_on(forward)}")
    if forward.listen_path is None and forward.listen_port == 0:
        wanted.port = port
        to = forward.connect_path or f"{forward.connect_host}:{forward.connect_port}"
        log.info(f"Allocated port {port} for remote forward to {to}")
