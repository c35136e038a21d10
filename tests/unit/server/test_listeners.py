"""The session host's listeners: what is accepted and how much of it, what is refused, and when it ends."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from qsh.server import listeners, resolver
from qsh.server.requests import Accepted, ListenOn, ListensOn, Released, StopListening
from qsh.wire.messages import Target
from tests.unit.server.forward_host import LIMIT_S, Played

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCALHOST = Target("localhost")


@pytest.fixture
def played() -> Iterator[Played]:
    played = Played()
    yield played
    played.close()


def listening(played: Played, number: int = 0, target: Target = LOCALHOST) -> int:
    """The port."""
    played.forwards.take(ListenOn(number, target))
    played.turn_until(lambda: played.said)
    (answer,) = played.said
    played.said.clear()
    assert answer == ListensOn(number, answer.port)
    return int(answer.port)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), LIMIT_S)


def accepted(played: Played) -> list[Any]:
    return [message for message in played.said if isinstance(message, Accepted)]


def test_what_connects_goes_to_the_front(played: Played) -> None:
    port = listening(played)
    with connect(port) as sock:
        played.turn_until(lambda: played.said)
        assert played.said == [Accepted(0, Target(*sock.getsockname()))]
        sock.sendall(b"x")
        played.sockets[0].setblocking(True)
        assert played.sockets[0].recv(1) == b"x"


def test_a_path(played: Played, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "socket")
    listening(played, 3, Target(path=path))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        played.turn_until(lambda: played.said)
    assert played.said == [Accepted(3, Target())]


def test_only_so_many_until_some_have_ended(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "MAX_ACCEPTED", 3)
    port = listening(played)
    clients = [connect(port) for _ in range(5)]
    played.turn_until(lambda: len(accepted(played)) == 3)
    for _ in range(3):
        played.loop.wait(0)
    assert len(accepted(played)) == 3
    played.forwards.take(Released())
    played.turn_until(lambda: len(accepted(played)) == 4)
    for _ in range(9):
        played.forwards.take(Released())  # more than there are
    played.turn_until(lambda: len(accepted(played)) == 5)
    for client in clients:
        client.close()


def test_no_descriptor_for_what_connects(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "PAUSE_S", 0.05)
    port, real = listening(played), socket.socket.accept
    failures = [errno.EMFILE, errno.ECONNABORTED, errno.ENFILE]

    def accept(sock: socket.socket) -> Any:
        if failures:
            number = failures.pop(0)
            raise OSError(number, os.strerror(number))
        return real(sock)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with connect(port):
        played.turn_until(lambda: accepted(played))
    assert played.log == ["accept: Too many open files", "accept: Too many open files in system"]


def test_it_stops(played: Played) -> None:
    port = listening(played)
    played.forwards.take(StopListening(0))
    played.forwards.take(StopListening(7))
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    again = listening(played, 0, Target("localhost", port))
    assert again == port
    played.forwards.close()
    with pytest.raises(ConnectionRefusedError):
        connect(port)


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(listeners, "MAX_LISTENERS", 2)
    played = Played(permit_listen=("localhost:*", "127.0.0.1:*"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for number, target in enumerate(
            (
                LOCALHOST,
                Target("elsewhere"),
                Target(path=b"/tmp/x"),
                Target("127.0.0.1", taken.getsockname()[1]),
            )
        ):
            played.forwards.take(ListenOn(number, target))
    played.forwards.take(ListenOn(0, LOCALHOST))
    played.forwards.take(ListenOn(8, LOCALHOST))
    played.forwards.take(ListenOn(9, LOCALHOST))
    codes = [message.code for message in played.said]
    assert codes == [
        "",
        "not-permitted",
        "not-permitted",
        "listen-failed",
        "bad-channel",
        "",
        "resources",
    ]
    assert played.log[0] == "refused remote port forward: listen 'elsewhere' port 0"
    played.close()


def test_a_name_service_that_hangs_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, real = threading.Event(), resolver._look_up

    def look_up(host: str, port: int, flags: int = 0) -> Any:
        if host == "hangs.invalid":
            hangs.wait(LIMIT_S)
        return real("localhost" if host == "hangs.invalid" else host, port, flags)

    monkeypatch.setattr(resolver, "_look_up", look_up)
    played = Played(gateway_ports="clientspecified")
    for number in (1, 2):
        played.forwards.take(ListenOn(number, Target("hangs.invalid")))
    listening(played, 5)
    played.forwards.take(StopListening(2))
    hangs.set()
    played.turn_until(lambda: played.said and not played.forwards._resolver._threads)
    (answer,) = played.said
    assert (answer.listener, answer.code) == (1, "")
    with connect(answer.port):
        played.turn_until(lambda: accepted(played))
    played.said.clear()
    played.forwards.take(ListenOn(4, Target("nonesuch.invalid")))
    played.turn_until(lambda: played.said)
    assert played.said == [ListensOn(4, 0, "connect-failed", "Name or service not known")]
    played.close()
