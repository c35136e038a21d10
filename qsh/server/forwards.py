"""The session host's part in forwarding: it connects and listens with the user's rights and gives the sockets to the front.

Nothing here waits: names are looked up in threads, sockets connect in the loop.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from qsh.clock import monotonic_s
from qsh.forward.dialing import Address, Dial, for_datagrams
from qsh.forward.failure import NOT_PERMITTED, Failure, of_error
from qsh.forward.listening import enlarge
from qsh.server.event_loop import WRITE
from qsh.server.listeners import Listeners
from qsh.server.requests import ChannelFailed, Connect, Connected, ListenOn, Released
from qsh.server.resolver import Resolver, literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qsh.server.event_loop import EventLoop
    from qsh.server.forward_rules import ForwardRules
    from qsh.server.requests import Local, StopListening
    from qsh.wire.messages import Target

    Tell = Callable[[Local, list[int]], None]

__all__ = ["HostForwards"]

MAX_DIALING: Final = 256
"""Targets that are being connected to at a time: the rest waits, so that silent ones do not use up the descriptors."""
MAX_WAITING: Final = 1024
"""As many as a connection may have streams: a front that asks for more is not ours."""


class _Attempt:
    """One Connect: the sockets that try, as soon as the addresses are known."""

    def __init__(self, channel: int, *, udp: bool) -> None:
        self.channel = channel
        self.kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        self.dial: Dial | None = None
        self.sockets: dict[int, socket.socket] = {}


class HostForwards:
    """Of one login. ``tell`` sends to the front and takes over the descriptors."""

    def __init__(
        self, loop: EventLoop, rules: ForwardRules, tell: Tell, report: Callable[[str], None]
    ) -> None:
        self._loop, self._rules, self._tell, self._report = loop, rules, tell, report
        self._resolver = Resolver(loop)
        self._listeners = Listeners(loop, rules, self._resolver, tell, report)
        self._attempts: dict[int, _Attempt] = {}
        self._waiting: deque[tuple[_Attempt, list[Address]]] = deque()
        self._dialing: set[int] = set()
        self._patient: dict[int, _Attempt] = {}
        """Those of ``_dialing`` that have another address to try: few, and they are looked at in every turn of the loop."""
        self._admitting = False

    def take(self, request: Connect | ListenOn | StopListening | Released) -> None:
        """Of the front."""
        if isinstance(request, Connect):
            self.connect(request)
        elif isinstance(request, ListenOn):
            self._listeners.listen(request)
        elif isinstance(request, Released):
            self._listeners.released()
        else:
            self._listeners.stop(request.listener)

    def connect(self, request: Connect) -> None:
        """Answered by Connected with the socket, or by ChannelFailed."""
        channel, target = request.channel, request.target
        if channel in self._attempts or len(self._attempts) >= MAX_WAITING:
            self._fail(channel, Failure("bad-channel", "the channel is open already"))
            return
        if not self._rules.may_connect(target):
            self._report(f"refused local port forward: {_origin(request)}, target {_text(target)}")
            self._fail(channel, NOT_PERMITTED)
            return
        if request.udp and (target.path or not target.port):
            self._fail(channel, Failure("bad-channel", "datagrams need a host and a port"))
            return
        attempt = self._attempts[channel] = _Attempt(channel, udp=request.udp)
        if target.path:
            self._reach(attempt, [Address(socket.AF_UNIX, target.path)])
        elif addresses := literal(target.host, target.port):
            self._reach(attempt, addresses)
        else:
            try:
                self._resolver.ask(
                    target.host, target.port, lambda found: self._resolved(attempt, found)
                )
            except OSError as error:
                self._end(attempt, of_error(error))

    def hang_up(self, channel: int) -> None:
        """Nobody waits for this one any more."""
        if (attempt := self._attempts.get(channel)) is not None:
            self._forget(attempt)

    @property
    def deadline(self) -> float | None:
        """When :meth:`expire` is due."""
        again = self._listeners.deadline
        times = [when for _, when in self._due()] + ([] if again is None else [again])
        return min(times, default=None)

    def expire(self, now: float) -> None:
        """Try the next address of targets that are silent, and accept again what could not be accepted."""
        self._listeners.expire(now)
        for attempt, when in list(self._due()):
            if now >= when and self._attempts.get(attempt.channel) is attempt:
                self._try(attempt)

    def _due(self) -> Iterator[tuple[_Attempt, float]]:
        for attempt in self._patient.values():
            if attempt.dial is not None and (when := attempt.dial.deadline) is not None:
                yield attempt, when

    def close(self) -> None:
        """The front is gone: give up all attempts, and listen no more."""
        self._listeners.close()
        for attempt in list(self._attempts.values()):
            self._forget(attempt)

    def _resolved(self, attempt: _Attempt, found: list[Address] | OSError) -> None:
        if self._attempts.get(attempt.channel) is not attempt:
            return
        if isinstance(found, OSError):
            self._end(attempt, of_error(found))
        else:
            self._reach(attempt, found)

    def _reach(self, attempt: _Attempt, addresses: list[Address]) -> None:
        if len(self._dialing) >= MAX_DIALING:
            self._waiting.append((attempt, addresses))
            return
        self._dialing.add(attempt.channel)
        if attempt.kind == socket.SOCK_DGRAM:
            addresses = for_datagrams(addresses)
        attempt.dial = Dial(addresses)
        self._try(attempt)

    def _try(self, attempt: _Attempt) -> None:
        """Begin with what is due. The attempt may be over after that."""
        dial = attempt.dial
        assert dial is not None  # noqa: S101 - see _reach
        while (address := dial.due(monotonic_s())) is not None:
            error = self._begin(attempt, address)
            if self._attempts.get(attempt.channel) is not attempt:
                return
            if error:
                dial.failed(error)
        if dial.over:
            self._end(attempt, of_error(dial.error))
        elif dial.deadline is None:
            self._patient.pop(attempt.channel, None)
        else:
            self._patient[attempt.channel] = attempt

    def _begin(self, attempt: _Attempt, address: Address) -> int:
        """Start to connect; the errno if that fails at once."""
        try:
            sock = socket.socket(address.family, attempt.kind | socket.SOCK_NONBLOCK)
        except OSError as shortage:
            return shortage.errno or errno.EIO
        if attempt.kind == socket.SOCK_DGRAM:
            enlarge(sock)
        error = sock.connect_ex(address.where)
        if error == 0:
            self._won(attempt, sock)
        elif error in (errno.EINPROGRESS, errno.EINTR):
            attempt.sockets[sock.fileno()] = sock
            self._loop.watch(sock.fileno(), WRITE, lambda _: self._settled(attempt, sock))
            return 0
        else:
            sock.close()
        return error

    def _settled(self, attempt: _Attempt, sock: socket.socket) -> None:
        dial = attempt.dial
        assert dial is not None  # noqa: S101 - see _reach
        self._loop.forget(sock.fileno())
        del attempt.sockets[sock.fileno()]
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error:
            self._won(attempt, sock)
            return
        sock.close()
        dial.failed(error)
        self._try(attempt)

    def _won(self, attempt: _Attempt, sock: socket.socket) -> None:
        self._forget(attempt)
        self._tell(Connected(attempt.channel), [sock.detach()])

    def _end(self, attempt: _Attempt, failure: Failure) -> None:
        self._forget(attempt)
        self._fail(attempt.channel, failure)

    def _fail(self, channel: int, failure: Failure) -> None:
        self._tell(ChannelFailed(channel, failure.code, failure.reason, failure.detail), [])

    def _forget(self, attempt: _Attempt) -> None:
        self._attempts.pop(attempt.channel, None)
        self._dialing.discard(attempt.channel)
        self._patient.pop(attempt.channel, None)
        for descriptor, sock in attempt.sockets.items():
            self._loop.forget(descriptor)
            sock.close()
        attempt.sockets.clear()
        self._admit()

    def _admit(self) -> None:
        """Begin with those that wait. One that fails at once comes here again, and finds that somebody is at it."""
        if self._admitting:
            return
        self._admitting = True
        while self._waiting and len(self._dialing) < MAX_DIALING:
            waiting, addresses = self._waiting.popleft()
            if self._attempts.get(waiting.channel) is waiting:
                self._reach(waiting, addresses)
        self._admitting = False


def _text(target: Target) -> str:
    return repr(os.fsdecode(target.path)) if target.path else f"{target.host!r} port {target.port}"


def _origin(request: Connect) -> str:
    return "originator unknown" if request.origin is None else f"originator {_text(request.origin)}"
