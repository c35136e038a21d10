"""Calls: connections of programs here to the agent or the display of their client, in the session host (docs/protocol.md 13).

A terminal's sockets stay when its clients change; a call goes to the newest client that takes calls of its kind. Where there is
none, an agent's caller gets the agent's own refusal, and a display's sees the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from qsh.auth.agent import FrameDecoder, Gate
from qsh.errors import AgentError
from qsh.server import x11_display
from qsh.server.event_loop import READ
from qsh.server.requests import Call
from qsh.wire.messages import X11, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qsh.server.event_loop import EventLoop
    from qsh.server.requests import CallKind
    from qsh.server.session_directory import SessionDirectory

__all__ = ["Callee", "ClientCalls"]

MAX_OPEN: Final = 128
"""Calls of one kind that one client has open: more are turned away."""
MAX_REFUSED: Final = 32
"""Callers of an agent that nobody is there for: more see the end at once."""
AGENT_REFUSES: Final = Gate.refusal()
"""A socket that is closed instead kills callers like ssh-add(1) with SIGPIPE."""
ACCEPT_AT_ONCE: Final = 16
"""In one turn of the loop: who calls without end must not stop the terminals."""


class Callee:
    """A client that takes calls, and the way to it. ``pass_on`` takes the descriptor over."""

    def __init__(self, kinds: Iterable[CallKind], pass_on: Callable[[Call, int], None]) -> None:
        self.kinds = frozenset(kinds)
        self._pass_on = pass_on
        self._open: dict[CallKind, int] = {}

    def call(self, call: Call, descriptor: int) -> None:
        """Pass a call on; one too many is turned away."""
        count = self._open.get(call.kind, 0)
        if count >= MAX_OPEN:
            os.close(descriptor)
            return
        self._open[call.kind] = count + 1
        self._pass_on(call, descriptor)

    def ended(self, kind: CallKind) -> None:
        """One has ended."""
        self._open[kind] = max(0, self._open.get(kind, 0) - 1)


class ClientCalls:
    """What the programs of one terminal, or one program with pipes, call their client by."""

    def __init__(
        self, loop: EventLoop, directory: SessionDirectory, report: Callable[[str], None]
    ) -> None:
        self._loop, self._directory, self._report = loop, directory, report
        self.newest: Callable[[CallKind], Callee | None] = lambda kind: None
        """Whom to call."""
        self.env: dict[str, str] = {}
        self.xauth: x11_display.XauthEntry | None = None
        """What the programs' .Xauthority is to say."""
        self._listeners: list[socket.socket] = []
        self._refused: dict[socket.socket, FrameDecoder] = {}
        self._agent = ""
        self._spare = -1
        """A descriptor to turn somebody away with when there is no other: else he would be ready for ever."""

    def offer_agent(self) -> None:
        """Set SSH_AUTH_SOCK. Raises OSError."""
        self._agent, listener = self._directory.claim_agent()
        self.env["SSH_AUTH_SOCK"] = os.path.join(self._directory.path, self._agent)
        self._watch(listener, Call("agent"))

    def offer_display(self, request: X11, offset: int, *, localhost: bool) -> None:
        """Set DISPLAY. Raises OSError."""
        number, listeners = x11_display.listen(offset, localhost=localhost)
        host = "localhost" if localhost else os.uname().nodename
        self.env["DISPLAY"] = f"{host}:{number}.{request.screen}"
        self.xauth = x11_display.XauthEntry(
            f"unix:{number}.{request.screen}" if localhost else self.env["DISPLAY"],
            request.protocol,
            request.cookie.hex(),
        )
        for listener in listeners:
            self._watch(listener, Call("x11", x11=X11(request.protocol, request.cookie)))

    def _watch(self, listener: socket.socket, call: Call) -> None:
        self._listeners.append(listener)
        if self._spare < 0:
            self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self._loop.watch(listener.fileno(), READ, lambda _: self._accept(listener, call))

    def _accept(self, listener: socket.socket, call: Call) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._turn_away(listener)
                continue
            callee = self.newest(call.kind)
            if call.kind == "agent" and not _may_use_agent(sock):
                sock.close()
                continue
            if callee is None:
                self._refuse(call.kind, sock)
                continue
            if isinstance(address, tuple):
                call = Call(call.kind, Target(str(address[0]), int(address[1])), call.x11)
            callee.call(call, sock.detach())

    def _refuse(self, kind: CallKind, sock: socket.socket) -> None:
        if kind != "agent" or len(self._refused) >= MAX_REFUSED:
            sock.close()
            return
        sock.setblocking(False)
        self._refused[sock] = FrameDecoder()
        self._loop.watch(sock.fileno(), READ, lambda _: self._answer_refused(sock))

    def _answer_refused(self, sock: socket.socket) -> None:
        """To whole requests only: ssh-add(1) writes the length of one apart."""
        try:
            data = sock.recv(65536)
            for _ in self._refused[sock].receive(data):
                sock.send(AGENT_REFUSES)
        except (OSError, AgentError):
            data = b""
        if not data:
            self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        self._loop.forget(sock.fileno())
        del self._refused[sock]
        sock.close()

    def _turn_away(self, listener: socket.socket) -> None:
        os.close(self._spare)
        with contextlib.suppress(OSError):
            listener.accept()[0].close()
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Nobody can call any more; calls that there are go on. Idempotent."""
        for listener in self._listeners:
            self._loop.forget(listener.fileno())
            listener.close()
        self._listeners.clear()
        for sock in list(self._refused):
            self._drop(sock)
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        if self._agent:
            self._directory.release(self._agent)
            self._agent = ""


def _may_use_agent(sock: socket.socket) -> bool:
    """The user, or root on his behalf, as ssh-agent has it."""
    with contextlib.suppress(OSError):
        peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", peer)
        return uid in (0, os.geteuid())
    return False
