"""A terminal's own socket in the session directory: other logins of the same user ask here (docs/protocol.md 10.11)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from qsh.errors import RemoteProtocolError
from qsh.server.client_calls import Callee
from qsh.server.event_loop import READ, WRITE
from qsh.server.packets import PacketSocket
from qsh.server.session_directory import (
    PART_BYTES,
    AttachTo,
    CallOver,
    Describe,
    Described,
    DetachAll,
    Done,
    History,
    HistoryPart,
    Holds,
    Kill,
    LinkState,
    Opened,
    PassCall,
    Question,
    Refused,
    UserHangUp,
    is_same_user,
)
from qsh.server.session_rules import NOT_PERMITTED
from qsh.server.terminal_clients import Visitor

if TYPE_CHECKING:
    import socket

    from qsh.server.event_loop import EventLoop
    from qsh.server.requests import Call
    from qsh.server.terminal_session import TerminalSession

__all__ = ["SessionDoor"]

MAX_GUESTS: Final = 32
HISTORY_BYTES: Final = 4 << 20


class _Caller:
    """One connection: questions, or an attachment for as long as it lasts."""

    def __init__(self, door: SessionDoor, sock: socket.socket) -> None:
        self._door = door
        self._packets: PacketSocket[Any] = PacketSocket(sock, Question)
        self._visitor: Visitor | None = None
        self._watch()

    def _watch(self) -> None:
        events = READ | (WRITE if self._packets.waiting else 0)
        self._door.loop.watch(self._packets.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        try:
            if events & WRITE:
                self._packets.flush()
            if events & READ and (received := self._packets.receive()) is not None:
                self._answer(received[0])
        except (EOFError, OSError, RemoteProtocolError):
            self.close()
            return
        if self._packets.sock.fileno() >= 0:
            self._watch()

    def _answer(self, question: Any) -> None:
        terminal = self._door.terminal
        if isinstance(question, Describe):
            self._packets.send(Described(terminal.describe(), terminal.rights))
        elif isinstance(question, AttachTo):
            self._attach(question)
        elif isinstance(question, Holds):
            holds = not terminal.over and terminal.has_ticket(question.client, question.ticket)
            self._packets.send(Done() if holds else Refused(*NOT_PERMITTED))
        elif isinstance(question, UserHangUp | LinkState | CallOver):
            if self._visitor is not None:
                self._tell_of(self._visitor, question)
        elif not question.rights.may_visit(terminal.rights):
            self._packets.send(Refused(*NOT_PERMITTED))
        elif isinstance(question, DetachAll):
            terminal.put_out("by-command")
            self._packets.send(Done())
        elif isinstance(question, Kill):
            self._packets.send(Done())
            if question.reason:
                terminal.keeper.report(f"session {terminal.name}: {question.reason}")
            terminal.put_out("killed")
            terminal.hang_up()
        elif isinstance(question, History):
            self._send_history(question)

    def _tell_of(self, visitor: Visitor, news: UserHangUp | LinkState | CallOver) -> None:
        terminal = self._door.terminal
        if isinstance(news, UserHangUp):
            terminal.hang_up_of(visitor)
        elif isinstance(news, LinkState):
            terminal.path_of(visitor, news.rtt_us / 1e6, news.loss_ppm)
        elif visitor.callee is not None:
            visitor.callee.ended(news.kind)

    def _attach(self, question: AttachTo) -> None:
        terminal = self._door.terminal
        ticket = terminal.has_ticket(question.request.client, question.request.ticket)
        if self._visitor is not None:
            raise RemoteProtocolError("local-message", "attached already")
        rights = question.rights
        visits = rights.may_be_seen_in if ticket else rights.may_visit
        if not visits(terminal.rights):
            self._packets.send(Refused(*NOT_PERMITTED))
            return
        callee = Callee(question.calls, self._pass_call) if question.calls else None
        self._visitor = Visitor(question.address, self.close, callee)
        try:
            far = terminal.attach(question.request, question.size, self._visitor, [])
        except OSError as error:
            self._packets.send(Refused("resources", str(error)))
            return
        self._packets.send(Opened(), far)

    def _pass_call(self, call: Call, descriptor: int) -> None:
        try:
            self._packets.send(PassCall(call), [descriptor])
        except OSError:  # PacketSocket closes it
            self.close()
            return
        self._watch()

    def _send_history(self, question: History) -> None:
        lines = self._door.terminal.history(question.lines, HISTORY_BYTES)
        text = b"".join(line + b"\n" for line in lines)
        parts = [text[at : at + PART_BYTES] for at in range(0, len(text), PART_BYTES)] or [b""]
        for part in parts:
            self._packets.send(HistoryPart(part, part is parts[-1]))

    def close(self) -> None:
        """Idempotent."""
        if self._packets.sock.fileno() >= 0:
            self._door.loop.forget(self._packets.fileno())
            self._packets.close()
        self._door.callers.discard(self)


class SessionDoor:
    """Listens as long as the terminal lives."""

    def __init__(self, loop: EventLoop, listener: socket.socket, terminal: TerminalSession) -> None:
        self.loop, self.terminal = loop, terminal
        self._listener = listener
        self.callers: set[_Caller] = set()
        loop.watch(listener.fileno(), READ, self._accept)

    def _accept(self, _events: int) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            if len(self.callers) >= MAX_GUESTS or not is_same_user(sock):
                sock.close()
                return
            self.callers.add(_Caller(self, sock))

    def close(self) -> None:
        """Idempotent."""
        if self._listener.fileno() >= 0:
            self.loop.forget(self._listener.fileno())
            self._listener.close()
        for caller in list(self.callers):
            caller.close()
