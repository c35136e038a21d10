"""The session host's forwards: what it connects to, what it says, and that nothing holds up its loop."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from qsh.server import forwards, resolver
from qsh.server.event_loop import EventLoop
from qsh.server.requests import ChannelFailed, Connect, Connected
from qsh.wire.messages import Target
from tests.unit.server.forward_host import LIMIT_S, Played

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SILENT = "192.0.2.1"
"""TEST-NET-1: tests play what the network would."""


@pytest.fixture
def played() -> Iterator[Played]:
    played = Played()
    yield played
    played.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_host_and_a_port(played: Played, listener: socket.socket, host: str) -> None:
    played.forwards.connect(Connect(4, Target(host, port_of(listener))))
    played.turn_until(lambda: played.said)
    assert played.said == [Connected(4)]
    theirs, _ = listener.accept()
    theirs.send(b"x")
    played.sockets[0].setblocking(True)
    assert played.sockets[0].recv(1) == b"x"
    assert not played.sockets[0].get_inheritable()
    theirs.close()


def test_a_path(played: Played, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        played.forwards.connect(Connect(4, Target(path=path)))
    assert played.said == [Connected(4)]


@pytest.mark.parametrize(
    ("target", "reason", "detail"),
    [
        (Target("127.0.0.1", 1), "Connection refused", "ECONNREFUSED"),
        (Target("nonesuch.invalid", 1), "Name or service not known", "EAI_NONAME"),
        (Target("a\0b", 1), "Name or service not known", "EAI_NONAME"),
        (Target("." * 300, 1), "Name or service not known", "EAI_NONAME"),
        (Target("1.2.3.4.5", 1), "Name or service not known", "EAI_NONAME"),
        (Target(path=b"/nonesuch/socket"), "No such file or directory", "ENOENT"),
        (Target(path=b"a\0b"), "Connection refused", "ECONNREFUSED"),
        (Target(path=b"\0"), "Connection refused", "ECONNREFUSED"),
        (Target(path=b"/" * 107), "Connection refused", "ECONNREFUSED"),
    ],
)
def test_what_cannot_be_had(played: Played, target: Target, reason: str, detail: str) -> None:
    played.forwards.connect(Connect(4, target))
    played.turn_until(lambda: played.said)
    (said,) = played.said
    assert isinstance(said, ChannelFailed)
    assert said.code == "connect-failed"
    if b"\0" not in target.path and target.path != b"/" * 107 and target.host != "1.2.3.4.5":
        assert (said.reason, said.detail) == (reason, detail)
    assert not played.loop._watched.keys() - {played.forwards._resolver._wake}


def test_no_target(played: Played) -> None:
    """An empty host is this machine for getaddrinfo, which is nothing that ssh could ask for."""
    played.forwards.connect(Connect(4, Target("", 1)))
    played.turn_until(lambda: played.said)
    assert played.said[0].code == "connect-failed"


def test_what_is_not_permitted() -> None:
    played = Played(disable_forwarding=True)
    played.forwards.connect(Connect(4, Target("127.0.0.1", 1), Target("::1", 5)))
    assert played.said == [ChannelFailed(4, "not-permitted", "open failed")]
    assert played.log == [
        "refused local port forward: originator '::1' port 5, target '127.0.0.1' port 1"
    ]
    played.close()


def test_a_name_service_that_hangs_holds_up_nobody_else(
    played: Played, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, real = threading.Event(), resolver._look_up

    def look_up(host: str, port: int, flags: int = 0) -> Any:
        if host == "hangs.invalid":
            hangs.wait(LIMIT_S)
        return real(host, port, flags)

    monkeypatch.setattr(resolver, "_look_up", look_up)
    played.forwards.connect(Connect(4, Target("hangs.invalid", 1)))
    played.forwards.connect(Connect(8, Target("hangs.invalid", 1)))
    played.forwards.connect(Connect(12, Target("localhost", port_of(listener))))
    played.turn_until(lambda: played.said)
    assert played.said == [Connected(12)]
    played.forwards.hang_up(8)
    hangs.set()
    played.turn_until(lambda: len(played.said) == 2 and not played.forwards._resolver._threads)
    assert played.said[1].channel == 4, "of 8 nobody wants to know any more"


def test_more_names_than_threads(
    played: Played, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "MAX_THREADS", 2)
    for channel in range(20):
        played.forwards.connect(Connect(channel, Target("localhost", port_of(listener))))
        assert played.forwards._resolver._threads <= 2
    played.turn_until(lambda: len(played.said) == 20)
    assert all(isinstance(said, Connected) for said in played.said)
    assert not played.forwards._resolver._threads


class Silence:
    """Connections to SILENT never get an answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried = 0
        silent: set[int] = set()
        connect, watch, forget = socket.socket.connect_ex, EventLoop.watch, EventLoop.forget

        def connect_ex(sock: socket.socket, where: Any) -> int:
            if where[0] != SILENT:
                return connect(sock, where)
            self.tried += 1
            silent.add(sock.fileno())
            return errno.EINPROGRESS

        def watch_others(loop: EventLoop, descriptor: int, events: int, handler: Any) -> None:
            if descriptor not in silent:  # the kernel calls it ready: it was never connected
                watch(loop, descriptor, events, handler)

        def forgotten(loop: EventLoop, descriptor: int) -> None:
            silent.discard(descriptor)
            forget(loop, descriptor)

        monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
        monkeypatch.setattr(EventLoop, "watch", watch_others)
        monkeypatch.setattr(EventLoop, "forget", forgotten)


def test_a_silent_address_is_not_waited_for(
    played: Played, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(host: str, port: int, **_: Any) -> Any:
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in (SILENT, "127.0.0.1")]

    silence = Silence(monkeypatch)
    monkeypatch.setattr(resolver.socket, "getaddrinfo", both)
    played.forwards.connect(Connect(4, Target("both.invalid", port_of(listener))))
    played.turn_until(lambda: played.said)
    assert played.said == [Connected(4)]
    assert silence.tried == 1
    assert not played.forwards._attempts
    assert played.forwards.deadline is None


def test_so_many_at_a_time(
    played: Played, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Targets that never answer leave descriptors for others, and wait for each other."""
    monkeypatch.setattr(forwards, "MAX_DIALING", 3)
    silence = Silence(monkeypatch)
    for channel in range(5):
        played.forwards.connect(Connect(channel, Target(SILENT, 1)))
    played.forwards.connect(Connect(9, Target("127.0.0.1", port_of(listener))))
    assert silence.tried == 3
    assert not played.said
    for channel in range(4):
        played.forwards.hang_up(channel)
    played.turn_until(lambda: played.said)
    assert played.said == [Connected(9)]
    assert silence.tried >= 4
    played.forwards.close()
    assert not played.forwards._attempts


def test_many_that_fail_at_once_while_others_wait(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwards, "MAX_DIALING", 1)
    Silence(monkeypatch)
    played.forwards.connect(Connect(0, Target(SILENT, 1)))
    for channel in range(1, 1000):
        played.forwards.connect(Connect(channel, Target(path=b"/nonesuch/socket")))
    assert not played.said
    played.forwards.hang_up(0)
    assert len(played.said) == 999


def test_a_channel_that_is_open_already(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    Silence(monkeypatch)
    for _ in range(2):
        played.forwards.connect(Connect(4, Target(SILENT, 1)))
    assert [said.code for said in played.said] == ["bad-channel"]
