"""Forwards that begin here: -L and -D listen, and each connection becomes a stream that the host leads on (docs/protocol.md 11).

Connections are accepted here; what they carry is moved natively (qsh.forward.relay).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from typing import TYPE_CHECKING, Final

from qsh.channels.frames import read_frame
from qsh.client.forward_targets import shown, target_of
from qsh.client.log import log
from qsh.client.spawned import Spawned
from qsh.client.text import visible
from qsh.errors import ForwardError, QshError, RemoteProtocolError
from qsh.forward import listening
from qsh.forward.failure import open_failed
from qsh.forward.relay import Relay, close_with_reset
from qsh.forward.socks import Negotiation
from qsh.forward.windows import MAX_STREAMS
from qsh.wire import framing
from qsh.wire.channel import AnswerReader
from qsh.wire.messages import Failed, Open, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.channel_numbers import ChannelNumbers
    from qsh.client.link import Link
    from qsh.client.udp_forwards import UdpForwards
    from qsh.config.forwards import Forward
    from qsh.config.options import ClientOptions
    from qsh.forward.windows import ReceiveWindow
    from qsh.quic import Stream

__all__ = ["LocalForwards", "raise_descriptor_limit"]

SPARE_STREAMS: Final = 24
"""Of those that the host allows, kept for programs and for what ends just now."""
SPARE_DESCRIPTORS: Final = 64
DESCRIPTORS_EACH: Final = 3
ACCEPT_AT_ONCE: Final = 64
SOCKS_BYTES: Final = 1024
"""Read at once of what begins with SOCKS: a request is smaller, and what is behind it goes along with OPEN."""
PAUSE_S: Final = 1.0
"""Until connections are accepted again after the system had no descriptor for one."""


class _Listener:
    """One -L or -D with its sockets."""

    def __init__(self, forward: Forward, sockets: list[socket.socket]) -> None:
        self.forward, self.sockets = forward, sockets


class LocalForwards:
    """:meth:`bind` before the login, :meth:`use` with each connection to the host."""

    def __init__(self, options: ClientOptions, numbers: ChannelNumbers) -> None:
        self._options, self._numbers = options, numbers
        self._listeners: list[_Listener] = []
        self._link: Link | None = None
        self._receives: ReceiveWindow | None = None
        self._spawned = Spawned("forwarded connection", on_end=self._ended)
        self._accepting = False
        self._udp: UdpForwards | None = None
        self._limit = MAX_STREAMS - SPARE_STREAMS

    # -- listening

    def bind(self) -> None:
        """Listen wherever it is asked for. Raises ForwardError if ExitOnForwardFailure says that it matters."""
        options = self._options
        wanted = [*options.local_forward, *options.dynamic_forward]
        if not wanted:
            return
        self._limit = min(self._limit, _connections_for(raise_descriptor_limit()))
        for forward in wanted:
            _tell_local(forward, gateway=options.gateway_ports)
            try:
                sockets = self._listen(forward)
                if forward.udp:
                    self._udp_forwards().add(forward, sockets)
                else:
                    self._listeners.append(_Listener(forward, sockets))
            except listening.ListenError as error:
                for line in str(error).split("\n"):
                    log.error(line)
                if options.exit_on_forward_failure:
                    raise ForwardError("Could not request local forwarding.") from None
        self._numbers.keep(sum(len(listener.sockets) for listener in self._listeners))
        if not self._listeners and self._udp is None:
            log.error("Could not request local forwarding.")

    def add(self, forward: Forward) -> None:
        """One more, unless it is there already. Raises ListenError."""
        if any(listener.forward == forward for listener in self._listeners):
            return
        if forward.udp:
            udp = self._udp_forwards()
            if not udp.has(forward):
                _tell_local(forward, gateway=self._options.gateway_ports)
                udp.add(forward, self._listen(forward))
            return
        self._limit = min(self._limit, _connections_for(raise_descriptor_limit()))
        _tell_local(forward, gateway=self._options.gateway_ports)
        listener = _Listener(forward, self._listen(forward))
        self._listeners.append(listener)
        self._numbers.keep(len(listener.sockets))
        if not self._accepting:
            self._accept_again()
            return
        for sock in listener.sockets:
            loop = asyncio.get_running_loop()
            loop.add_reader(sock.fileno(), self._accept_from, listener, sock)

    def cancel(self, matches: Callable[[Forward], bool]) -> bool:
        """Listen no more for those that match; whether there was one."""
        found = [listener for listener in self._listeners if matches(listener.forward)]
        for listener in found:
            self._listeners.remove(listener)
            for sock in listener.sockets:
                asyncio.get_running_loop().remove_reader(sock.fileno())
                sock.close()
            self._numbers.keep(-len(listener.sockets))
            if listener.forward.listen_path is not None:
                with contextlib.suppress(OSError):
                    os.unlink(listener.forward.listen_path)
        udp = self._udp is not None and self._udp.cancel(matches)
        return bool(found) or udp

    def _udp_forwards(self) -> UdpForwards:
        """Made with the first that is needed."""
        from qsh.client.udp_forwards import UdpForwards

        if self._udp is None:
            self._udp = UdpForwards(self._numbers, self._options.qsh_udp_timeout)
            if self._link is not None:
                self._udp.use(self._link)
        return self._udp

    def _listen(self, forward: Forward) -> list[socket.socket]:
        options = self._options
        if forward.listen_path is not None:
            mask, unlink = options.streamlocal_bind_mask, options.streamlocal_bind_unlink
            path = os.fsencode(forward.listen_path)
            return [listening.listen_unix(path, mask, unlink=unlink)]
        gateway = "yes" if options.gateway_ports else "no"
        address, wildcard = listening.bind_address(forward.listen_host, gateway, is_client=True)
        bound = listening.listen_tcp(address, wildcard, forward.listen_port, udp=forward.udp)
        for number, complaint in enumerate(bound.complaints, 1):
            loud = bound.last_failed and number == len(bound.complaints)
            (log.error if loud else log.verbose)(complaint)
        for sock in bound.sockets:
            host, port = sock.getsockname()[:2]
            what = "UDP port" if forward.udp else "port"
            log.debug(f"Local forwarding listening on {host} {what} {port}.")
        return bound.sockets

    def use(self, link: Link, receives: ReceiveWindow) -> None:
        """Connections go over this one from now on, until it is lost; then they wait for the next."""
        self._link, self._receives = link, receives
        link.lost.add_done_callback(lambda _: self._lost(link))
        if self._udp is not None:
            self._udp.use(link)
        self._accept(wanted=True)

    def _lost(self, link: Link) -> None:
        if link is self._link:
            self._accept(wanted=False)

    def _accept(self, *, wanted: bool) -> None:
        """Begin or cease to accept; who connects meanwhile waits in the kernel's queue."""
        if wanted == self._accepting:
            return
        self._accepting = wanted
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            for sock in listener.sockets:
                if wanted:
                    loop.add_reader(sock.fileno(), self._accept_from, listener, sock)
                else:
                    loop.remove_reader(sock.fileno())

    def _accept_from(self, listener: _Listener, listening_socket: socket.socket) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            if len(self._spawned) >= self._limit:
                self._accept(wanted=False)  # until one of them has ended
                return
            try:
                sock, address = listening_socket.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                log.error(f"accept: {os.strerror(error.errno or errno.EIO)}")
                self._accept(wanted=False)
                asyncio.get_running_loop().call_later(PAUSE_S, self._accept_again)
                return
            sock.setblocking(False)
            self._spawned.spawn(self._serve(listener.forward, sock, _origin(sock, address)))

    def _accept_again(self) -> None:
        link = self._link
        if link is not None and not link.lost.done() and self._listeners:
            self._accept(wanted=True)

    def _ended(self) -> None:
        if len(self._spawned) == self._limit - 1:
            self._accept_again()

    # -- one connection

    async def _serve(self, forward: Forward, sock: socket.socket, origin: Target) -> None:
        target = None if forward.dynamic else target_of(forward)
        with self._numbers.one(_described(forward, target, origin)) as number:
            try:
                if target is None:
                    await self._serve_socks(number, forward, sock, origin)
                    return
                to = f"{_listens_on(forward)} forwarding to {shown(target)}"
                log.debug(f"Connection to {to} requested.")
                await self._connect(number, sock, target, origin)
            except QshError as error:
                log.debug(f"channel {number}: {error}", 2)
                close_with_reset(sock)
            except OSError as error:
                log.debug(f"channel {number}: {error}", 2)
                sock.close()

    async def _serve_socks(
        self, number: int, forward: Forward, sock: socket.socket, origin: Target
    ) -> None:
        loop = asyncio.get_running_loop()
        socks = Negotiation(datagrams=sock.family != socket.AF_UNIX)
        try:
            while socks.target is None:
                answer = socks.receive(await loop.sock_recv(sock, SOCKS_BYTES))
                if answer:
                    await loop.sock_sendall(sock, answer)
        except RemoteProtocolError as error:
            log.debug(f"channel {number}: {error}")
            if socks.refusal:
                await loop.sock_sendall(sock, socks.refusal)
            sock.close()
            return
        target = Target(*socks.target)
        if socks.associate:
            text = f"dynamic-udp: listening {_listens_on(forward)}, datagrams from {shown(origin)}"
            self._numbers.describe(number, text)
            log.debug(text)
            await self._udp_forwards().associate(sock, socks, target.port)
            return
        self._numbers.describe(number, _described(forward, target, origin))
        log.debug(
            f"dynamic request: socks{socks.version} host {visible(target.host)} port {target.port}",
            2,
        )
        await self._connect(number, sock, target, origin, socks)

    async def _connect(
        self,
        number: int,
        sock: socket.socket,
        target: Target,
        origin: Target,
        socks: Negotiation | None = None,
    ) -> None:
        """Without SOCKS what the socket has to say need not wait for the answer: there is none that it would wait for."""
        assert self._link is not None  # noqa: S101 - nothing is accepted without
        assert self._receives is not None  # noqa: S101 - as above
        with self._receives.forward():
            stream = await self._link.connection.open_bi()
            first = framing.encode(Open("connect", target=target, origin=origin))
            if socks is not None:
                first += socks.rest  # of one that does not wait for the answer
            stream.send.begin_write(first)
            relay = Relay(stream, sock)
            try:
                if socks is None:
                    relay.begin()
                refused = await _answer(stream)
                if refused is None and socks is not None:
                    await asyncio.get_running_loop().sock_sendall(sock, socks.granted())
            except (QshError, OSError):
                relay.give_up()
                raise
            if refused is None:
                await relay.run()
                return
            text = open_failed(refused.code, visible(refused.reason))
            log.error(f"channel {number}: {text}")
            if socks is not None:
                answer = socks.refused(refused.code, refused.detail)
                await asyncio.get_running_loop().sock_sendall(sock, answer)
            relay.give_up()


async def _answer(stream: Stream) -> Failed | None:
    answer, _ = await read_frame(stream.recv, AnswerReader())
    return answer if isinstance(answer, Failed) else None


def _origin(sock: socket.socket, address: object) -> Target:
    if sock.family == socket.AF_UNIX or not isinstance(address, tuple):
        return Target()
    return Target(str(address[0]), int(address[1]))


def _listens_on(forward: Forward) -> str:
    if forward.listen_path is not None:
        return f"socket {visible(forward.listen_path)}"
    return f"port {forward.listen_port}"


def _described(forward: Forward, target: Target | None, origin: Target) -> str:
    text = f"listening {_listens_on(forward)}"
    if target is not None:
        kind = "direct-streamlocal" if target.path else "direct-tcpip"
        text = f"{kind}: {text} for {shown(target)}"
    else:
        text = f"dynamic-tcpip: {text}"
    return text + (f", connect from {shown(origin)}" if origin.host else "")


def _tell_local(forward: Forward, *, gateway: bool) -> None:
    if not log.debugging:
        return
    anywhere = "*" if gateway else "LOCALHOST"
    host = forward.listen_path or forward.listen_host or anywhere
    log.debug(
        f"Local connections to {host}:{forward.listen_port} forwarded to remote address "
        f"{forward.connect_path or forward.connect_host}:{forward.connect_port}"
    )


def raise_descriptor_limit() -> int:
    """As many descriptors as the system lets us have; how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard


def _connections_for(descriptors: int) -> int:
    if descriptors < 0:
        return MAX_STREAMS
    return max(1, (descriptors - SPARE_DESCRIPTORS) // DESCRIPTORS_EACH)
