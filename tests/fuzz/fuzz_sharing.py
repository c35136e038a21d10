"""Invariant: whatever is said on the socket of a shared connection, to a master or to its client, ends in messages, a wait
for more or RemoteProtocolError; a forward that is let through can be described in one printable line and said again.
"""

from __future__ import annotations

import socket

from qsh.client.control_socket import ControlSocket
from qsh.client.forward_requests import described, forward_of, request_of
from qsh.errors import RemoteProtocolError
from qsh.wire import framing
from qsh.wire.messages import Attach, Open, Pty, Target
from qsh.wire.plain import FrameReader
from qsh.wire.sharing import (
    Answered,
    Ask,
    Attend,
    Exited,
    ForwardRequest,
    FromMaster,
    HangUp,
    PathReport,
    Refused,
    Request,
    SessionOpened,
    SessionRequest,
    StdioRequest,
    Welcome,
)

__all__ = ["fuzz_one"]

_REQUESTS = (
    SessionRequest(Open("exec", b"true", env={"LANG": "C"})),
    SessionRequest(Open("shell", pty=Pty("xterm", 24, 80), terminal=Attach(bytes(16)))),
    StdioRequest(Target("localhost", 22)),
    ForwardRequest("local", False, "localhost", 80, None, "host", 8080),
    ForwardRequest("remote", True, None, -2, b"/a/path", "socks", 0),
    ForwardRequest("dynamic", False, None, 1080, None, "socks"),
    Ask("check"),
    Attend(),
    HangUp(),
)
_ANSWERS = (
    Welcome(1, 4711),
    SessionOpened(("a notice",), terminal=True),
    Refused("max-sessions", "no"),
    Exited(0),
    Exited(error="an error"),
    Answered("text", 80),
    PathReport(1, 2, 3, 4),
)
SEEDS = (
    *(b"\0" + framing.encode(message) for message in _REQUESTS),
    *(b"\1" + framing.encode(message) for message in _ANSWERS),
    b"\0" + b"".join(framing.encode(message) for message in _REQUESTS),
)
_BLOCK = 4096


def fuzz_one(data: bytes) -> None:
    if data[:1] == b"\1":
        _plain(data[1:])
    kind = FromMaster if data[:1] == b"\1" else Request
    there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    control = ControlSocket(here, kind)
    with there:
        try:
            for at in range(1, len(data), _BLOCK):
                there.sendall(data[at : at + _BLOCK])
                assert control.receive()
                while (message := control.next()) is not None:
                    if isinstance(message, ForwardRequest):
                        _forward(message)
        except RemoteProtocolError:
            pass
        finally:
            control.close()


def _plain(data: bytes) -> None:
    """As a client without a terminal reads it."""
    reader = FrameReader()
    reader.feed(data)
    try:
        while (told := reader.next()) is not None:
            assert told.status is None or 0 <= told.status <= 255
    except RemoteProtocolError:
        pass


def _forward(message: ForwardRequest) -> None:
    forward = forward_of(message)
    if forward is None:
        return
    assert described(message.kind, forward, gateway=False).isprintable()
    again = forward_of(request_of(message.kind, forward, cancel=message.cancel))
    assert again == forward
