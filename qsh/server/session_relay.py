"""A channel of this login whose terminal lives in another session host: two descriptors, passed on, and a few messages after."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from qsh.clock import monotonic_s
from qsh.errors import RemoteProtocolError
from qsh.server.client_calls import Callee
from qsh.server.event_loop import READ, WRITE
from qsh.server.session_directory import (
    OTHER_VERSION,
    CallOver,
    LinkState,
    Opened,
    PassCall,
    Refused,
    UserHangUp,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.event_loop import EventLoop
    from qsh.server.packets import PacketSocket
    from qsh.server.requests import Call, CallKind
    from qsh.server.session_directory import AttachTo

__all__ = ["SessionRelay"]

ANSWER_S: Final = 5.0
"""A session host answers within milliseconds, unless it was stopped."""


class SessionRelay:
    """Asks the other host; ``on_open`` gets the descriptors, ``on_fail`` a code and a text, ``on_end`` is called at the end,
    ``on_call`` gets calls of the terminal's programs and their descriptors.
    """

    def __init__(
        self,
        loop: EventLoop,
        peer: PacketSocket[Any],
        question: AttachTo,
        on_open: Callable[[list[int]], None],
        on_fail: Callable[[str, str], None],
        on_end: Callable[[], None],
        on_call: Callable[[Call, list[int]], None],
    ) -> None:
        self._loop, self._peer = loop, peer
        self._on_open, self._on_fail, self._on_end = on_open, on_fail, on_end
        self._callee = Callee(question.calls, lambda call, descriptor: on_call(call, [descriptor]))
        """Counts here, too: whoever made the socket that is taken for another host's is the user, but need not be qshd."""
        self._opened = False
        self.deadline: float | None = monotonic_s() + ANSWER_S
        """When to :meth:`expire`."""
        self._send(question)

    def _send(self, message: AttachTo | UserHangUp | LinkState | CallOver) -> None:
        with contextlib.suppress(OSError):  # its end is read soon
            self._peer.send(message)
        self._watch()

    def _watch(self) -> None:
        events = READ | (WRITE if self._peer.waiting else 0)
        self._loop.watch(self._peer.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        try:
            if events & WRITE:
                self._peer.flush()
            if events & READ and (received := self._peer.receive()) is not None:
                self._take(*received)
        except RemoteProtocolError:
            self.close(*OTHER_VERSION)
            return
        except (EOFError, OSError):
            self.close("session-lost", "the session's host is gone")
            return
        if self._peer.sock.fileno() >= 0:
            self._watch()

    def _take(self, answer: Any, descriptors: list[int]) -> None:
        if isinstance(answer, Opened) and not self._opened and len(descriptors) == 2:
            self._opened, self.deadline = True, None
            self._on_open(descriptors)
            return
        if isinstance(answer, PassCall) and self._opened:
            if answer.call.kind in self._callee.kinds and len(descriptors) == 1:
                self._callee.call(answer.call, descriptors.pop())
            for descriptor in descriptors:
                os.close(descriptor)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(answer, Refused):
            self.close(answer.code, answer.text)
        else:
            self.close("resources", "the server is out of descriptors")

    def expire(self, now: float) -> None:
        """A deadline may have come."""
        if self.deadline is not None and now >= self.deadline:
            self.close("resources", "the session does not answer")

    def hang_up(self) -> None:
        """The client ended its channel."""
        self._send(UserHangUp())

    def path(self, rtt_s: float, loss_ppm: int) -> None:
        """How the connection does."""
        self._send(LinkState(int(rtt_s * 1e6), loss_ppm))

    def call_ended(self, kind: CallKind) -> None:
        """Of a call that came this way."""
        self._callee.ended(kind)
        self._send(CallOver(kind))

    def close(self, code: str = "", text: str = "") -> None:
        """Idempotent."""
        if self._peer.sock.fileno() < 0:
            return
        self._loop.forget(self._peer.fileno())
        self._peer.close()
        self.deadline = None
        if not self._opened:
            self._on_fail(code or "session-lost", text)
        self._on_end()
