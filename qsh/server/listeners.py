"""Remote forwards in the session host: it listens with the user's rights; what connects goes to the front."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from qsh.clock import monotonic_s
from qsh.forward import listening
from qsh.forward.failure import NOT_PERMITTED, Failure, of_error
from qsh.forward.listening import ListenError
from qsh.server.event_loop import READ
from qsh.server.requests import Accepted, ListensOn
from qsh.server.resolver import literal
from qsh.wire.messages import Target

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from qsh.forward.dialing import Address
    from qsh.server.event_loop import EventLoop
    from qsh.server.forward_rules import ForwardRules
    from qsh.server.requests import ListenOn, Local
    from qsh.server.resolver import Resolver

__all__ = ["Listeners"]

MAX_LISTENERS: Final = 128
"""Of one login."""
MAX_ACCEPTED: Final = 1000
"""Connections that the front has and has not ended: the rest waits in the kernel's queues. The client allows 1,024 streams."""
PAUSE_S: Final = 1.0
"""Before connections are accepted again for which there was no descriptor."""
_ONE_CONNECTION: Final = (errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.EPERM)


class Listeners:
    """Of one login. ``tell`` sends to the front and takes over the descriptors."""

    def __init__(
        self,
        loop: EventLoop,
        rules: ForwardRules,
        resolver: Resolver,
        tell: Callable[[Local, list[int]], None],
        report: Callable[[str], None],
    ) -> None:
        self._loop, self._rules, self._resolver = loop, rules, resolver
        self._tell, self._report = tell, report
        self._listeners: dict[int, list[socket.socket]] = {}
        """By the client's numbers; without a socket: its name is being looked up."""
        self._accepted = 0
        self.deadline: float | None = None
        """When :meth:`expire` is due."""

    def listen(self, request: ListenOn) -> None:
        """Answered by ListensOn."""
        number, target, options = request.listener, request.target, self._rules.options
        if number in self._listeners:
            self._fail(number, Failure("bad-channel", "there is such a listener already"))
        elif not self._rules.may_listen(target):
            where = repr(os.fsdecode(target.path)) if target.path else f"port {target.port}"
            self._report(f"refused remote port forward: listen {target.host!r} {where}")
            self._fail(number, NOT_PERMITTED)
        elif len(self._listeners) >= MAX_LISTENERS:
            self._fail(number, Failure("resources", "too many forwards"))
        elif target.path and request.udp:
            self._fail(number, Failure("bad-channel", "a path takes no datagrams"))
        elif target.path:
            self._bind(number, lambda: self._bind_path(target.path), udp=False)
        else:
            address, wildcard = listening.bind_address(
                target.host, options.gateway_ports, is_client=False
            )
            if address is None or literal(address, target.port):
                self._bind(
                    number,
                    lambda: listening.listen_tcp(address, wildcard, target.port, udp=request.udp),
                    udp=request.udp,
                )
            else:
                self._look_up(number, address, target.port, udp=request.udp)

    def _look_up(self, number: int, name: str, port: int, *, udp: bool) -> None:
        waiting: list[socket.socket] = []
        self._listeners[number] = waiting

        def take(found: list[Address] | OSError) -> None:
            if self._listeners.get(number) is not waiting:
                return
            del self._listeners[number]
            if isinstance(found, OSError):
                self._fail(number, of_error(found))
            else:
                self._bind(number, lambda: listening.listen_on(found, port, udp=udp), udp=udp)

        try:
            self._resolver.ask(name, port, take)
        except OSError as error:
            take(error)

    def _bind_path(self, path: bytes) -> listening.Bound:
        options = self._rules.options
        mask, unlink = options.stream_local_bind_mask, options.stream_local_bind_unlink
        return listening.Bound([listening.listen_unix(path, mask, unlink=unlink)], 0, [])

    def _bind(self, number: int, bind: Callable[[], listening.Bound], *, udp: bool) -> None:
        try:
            bound = bind()
        except ListenError as error:
            self._report(str(error).replace("\n", "; "))
            self._fail(number, Failure("listen-failed", str(error).partition("\n")[0]))
            return
        if udp:  # the front hears who sends; the number stays taken
            self._listeners[number] = []
            self._tell(ListensOn(number, bound.port), [sock.detach() for sock in bound.sockets])
            return
        self._listeners[number] = bound.sockets
        self._watch()
        self._tell(ListensOn(number, bound.port), [])

    def _fail(self, number: int, failure: Failure) -> None:
        self._tell(ListensOn(number, 0, failure.code, failure.reason), [])

    def stop(self, number: int) -> None:
        """Connections that are there live on."""
        for sock in self._listeners.pop(number, ()):
            self._loop.forget(sock.fileno())
            sock.close()

    def close(self) -> None:
        """The front is gone."""
        for number in list(self._listeners):
            self.stop(number)
        self._accepted, self.deadline = 0, None

    def released(self) -> None:
        """The front has ended a connection."""
        self._accepted = max(0, self._accepted - 1)
        if self._accepted == MAX_ACCEPTED - 1:
            self._watch()

    def expire(self, now: float) -> None:
        """Accept again."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self._watch()

    def _watch(self) -> None:
        wanted = READ if self._accepted < MAX_ACCEPTED and self.deadline is None else 0
        for number, sockets in self._listeners.items():
            for sock in sockets:
                self._loop.watch(sock.fileno(), wanted, self._acceptor(number, sock))

    def _acceptor(self, number: int, sock: socket.socket) -> Callable[[int], None]:
        return lambda _: self._accept(number, sock)

    def _accept(self, number: int, listener: socket.socket) -> None:
        while self._accepted < MAX_ACCEPTED and self._listeners.get(number):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _ONE_CONNECTION:
                    continue
                self._report(f"accept: {error.strerror}")
                self.deadline = monotonic_s() + PAUSE_S
                break
            self._accepted += 1
            origin = Target()
            if isinstance(address, tuple):
                origin = Target(str(address[0]), int(address[1]))
            self._tell(Accepted(number, origin), [sock.detach()])
        self._watch()
