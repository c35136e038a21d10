"""Sockets for calls in the session host: whom they call, and that callers without end hurt nobody else."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from qsh.clock import monotonic_s
from qsh.server import client_calls, x11_display
from qsh.server.client_calls import AGENT_REFUSES, Callee, ClientCalls
from qsh.server.event_loop import EventLoop
from qsh.server.session_directory import SessionDirectory
from qsh.wire.messages import X11, Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qsh.server.requests import Call, CallKind

LIMIT_S = 10.0
REQUEST = X11("MIT-MAGIC-COOKIE-1", b"c" * 16, 3)


class Played:
    """Its loop, turned by the test, and one client that takes calls."""

    def __init__(self, folder: Path) -> None:
        self.loop, self.said = EventLoop(), list[str]()
        self.directory = SessionDirectory(str(folder / "sessions"))
        self.calls = ClientCalls(self.loop, self.directory, self.said.append)
        self.got: list[tuple[Call, socket.socket]] = []
        self.callee = Callee(("agent", "x11"), self._take)
        self.calls.newest = lambda kind: self.callee

    def _take(self, call: Call, descriptor: int) -> None:
        self.got.append((call, socket.socket(fileno=descriptor)))

    def turn_until(self, condition: Any) -> None:
        end = monotonic_s() + LIMIT_S
        while not condition():
            assert monotonic_s() < end
            self.loop.wait(0.05)

    def connect(self, kind: CallKind) -> socket.socket:
        if kind == "x11":
            port = 6000 + int(self.calls.env["DISPLAY"].rpartition(":")[2].partition(".")[0])
            return socket.create_connection(("127.0.0.1", port), LIMIT_S)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(LIMIT_S)
        sock.connect(self.calls.env["SSH_AUTH_SOCK"])
        return sock

    def close(self) -> None:
        self.calls.close()
        for _, sock in self.got:
            sock.close()
        self.loop.close()


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    played = Played(tmp_path)
    played.calls.offer_agent()
    played.calls.offer_display(REQUEST, 700, localhost=True)
    yield played
    played.close()


def test_calls_reach_the_client(played: Played) -> None:
    with played.connect("agent") as agent, played.connect("x11") as x11:
        played.turn_until(lambda: len(played.got) == 2)
        played.got.sort(key=lambda pair: pair[0].kind)
        (first, theirs), (second, _) = played.got
        assert (first.kind, first.origin, first.x11) == ("agent", None, None)
        assert (second.kind, second.x11) == ("x11", X11(REQUEST.protocol, REQUEST.cookie))
        assert second.origin == Target(*x11.getsockname())
        theirs.send(b"x")
        assert agent.recv(1) == b"x"


def test_what_programs_are_told(played: Played) -> None:
    number = played.calls.env["DISPLAY"].removeprefix("localhost:").removesuffix(".3")
    assert int(number) >= 700
    assert played.calls.xauth == (f"unix:{number}.3", "MIT-MAGIC-COOKIE-1", (b"c" * 16).hex())
    path = played.calls.env["SSH_AUTH_SOCK"]
    assert os.stat(path).st_mode & 0o777 == 0o600
    played.calls.close()
    assert not os.path.exists(path)


def test_a_display_is_whole_or_none(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose other half belongs to somebody else would be shared with him."""
    number = int(played.calls.env["DISPLAY"].rpartition(":")[2].partition(".")[0])
    with socket.create_server(("127.0.0.1", 6000 + number + 1)):
        monkeypatch.setattr(x11_display, "LOOPBACK", x11_display.LOOPBACK[::-1])
        found, sockets = x11_display.listen(number, localhost=True)
        assert found >= number + 2
    for sock in sockets:
        sock.close()


def test_nobody_to_call(played: Played) -> None:
    played.calls.newest = lambda kind: None
    with played.connect("agent") as agent, played.connect("x11") as x11:
        played.turn_until(lambda: _readable(x11))
        assert x11.recv(1) == b""
        for request in (b"\0\0\0\1\x0b", b"\0\0\0\2\x1b\0"):
            agent.send(request[:4])
            played.loop.wait(0.05)
            assert not _readable(agent), "it has not asked yet"
            agent.send(request[4:])
            played.turn_until(lambda: _readable(agent))
            assert agent.recv(100) == AGENT_REFUSES
        agent.send(b"\xff" * 4)
        played.turn_until(lambda: not played.calls._refused)
        assert agent.recv(100) == b""


def test_callers_that_ask_nothing_are_few(played: Played) -> None:
    played.calls.newest = lambda kind: None
    callers = [played.connect("agent") for _ in range(client_calls.MAX_REFUSED + 3)]
    played.turn_until(lambda: sum(map(_readable, callers)) == 3)
    assert len(played.calls._refused) == client_calls.MAX_REFUSED
    callers[0].close()
    played.turn_until(lambda: len(played.calls._refused) < client_calls.MAX_REFUSED)
    for caller in callers:
        caller.close()
    played.turn_until(lambda: not played.calls._refused)


def test_so_many_at_a_time(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_calls, "MAX_OPEN", 2)
    callers = [played.connect("x11") for _ in range(3)]
    played.turn_until(lambda: _readable(callers[2]))
    assert callers[2].recv(1) == b""
    assert len(played.got) == 2
    with played.connect("agent"):
        played.turn_until(lambda: len(played.got) == 3)
    played.callee.ended("x11")
    played.callee.ended("x11")
    played.callee.ended("x11")
    callers += [played.connect("x11") for _ in range(3)]
    played.turn_until(lambda: _readable(callers[5]))
    assert len(played.got) == 5, "ended too often is not more room"
    for caller in callers:
        caller.close()


def test_callers_without_end_leave_the_loop_time(played: Played) -> None:
    callers = [played.connect("x11") for _ in range(40)]
    played.loop.wait(0)
    assert 0 < len(played.got) <= 2 * client_calls.ACCEPT_AT_ONCE
    for caller in callers:
        caller.close()


def test_no_descriptor_for_a_caller(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    accept = socket.socket.accept
    full = [True]

    def fails(sock: socket.socket) -> Any:
        if full[0]:
            full[0] = False
            raise OSError(errno.EMFILE, "full")
        return accept(sock)

    monkeypatch.setattr(socket.socket, "accept", fails)
    with played.connect("agent") as caller:
        played.turn_until(lambda: _readable(caller))
        with contextlib.suppress(ConnectionResetError):
            assert caller.recv(1) == b""
    assert not played.got


def test_another_user_is_not_answered(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_calls.os, "geteuid", lambda: 4242)
    monkeypatch.setattr(client_calls.struct, "unpack", lambda *_: (1, 4243, 1))
    with played.connect("agent") as caller:
        played.turn_until(lambda: _readable(caller))
        assert caller.recv(1) == b""
    assert not played.got


def test_sockets_of_killed_hosts_are_swept(tmp_path: Path) -> None:
    directory = SessionDirectory(str(tmp_path / "sessions"))
    dead, sock = directory.claim_agent()
    sock.close()
    alive, listener = directory.claim_agent()
    (tmp_path / "sessions" / "agent.mine").touch()
    name, other = directory.claim_agent()
    assert sorted(os.listdir(directory.path)) == sorted((alive, name, "agent.mine"))
    assert dead not in (alive, name)
    assert directory.names() == []
    listener.close()
    other.close()


def test_a_path_that_programs_cannot_connect_to(tmp_path: Path) -> None:
    directory = SessionDirectory(str(tmp_path / ("x" * 90)))
    with pytest.raises(OSError, match="File name too long"):
        directory.claim_agent()


def _readable(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
