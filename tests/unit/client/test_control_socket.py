"""The socket of a shared connection: where it is, how it is put in place, and what is said on it."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.client.control_path import PathTooLong, connect, is_ours, socket_path
from qsh.client.control_socket import MAX_WAITING, ControlSocket, Listener
from qsh.errors import RemoteProtocolError
from qsh.wire.sharing import Answered, Ask, Attend, FromMaster, Request, Welcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pair() -> Iterator[tuple[ControlSocket, ControlSocket]]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    master, client = ControlSocket(one, Request), ControlSocket(other, FromMaster)
    yield master, client
    master.close()
    client.close()


def test_the_longest_path() -> None:
    assert socket_path("/" + "x" * 102) == "/" + "x" * 102 + ".qsh"
    with pytest.raises(PathTooLong, match=r"^ControlPath too long \('/x+\.qsh' >= 108 bytes\)$"):
        socket_path("/" + "x" * 103)


def test_put_in_place_whole(tmp_path: Path) -> None:
    path = tmp_path / "cp.qsh"
    listener = Listener(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["cp.qsh"]
    sock = connect(str(path))
    there, _ = listener.sock.accept()
    assert is_ours(there)
    for each in (sock, there):
        each.close()
    with pytest.raises(FileExistsError):
        Listener(str(path))
    assert os.listdir(tmp_path) == ["cp.qsh"]
    listener.close()
    listener.close()
    assert os.listdir(tmp_path) == []


def test_trying_out_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "cp.qsh"
    Listener.try_out(str(path))
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        Listener.try_out(str(tmp_path / "no" / "cp.qsh"))
    path.touch()
    Listener.try_out(str(path))  # who is there may be gone when it is put in place
    assert path.is_file()


def test_a_path_as_long_as_can_be(tmp_path: Path) -> None:
    """There is room for the other name that it is bound under."""
    folder = tmp_path / "d"
    folder.mkdir()
    path = f"{folder}/{'x' * (106 - len(str(folder)))}"
    assert len(path) == 107
    listener = Listener(path)
    connect(path).close()
    listener.close()
    assert not list(folder.iterdir())
    here = f"/tmp/{os.urandom(4).hex()}{'x' * 94}"
    listener = Listener(here)
    connect(here).close()
    listener.close()
    assert not os.path.exists(here)


def test_a_name_that_is_somebody_elses_by_now_stays(tmp_path: Path) -> None:
    path = tmp_path / "cp.qsh"
    listener = Listener(str(path))
    path.unlink()
    other = Listener(str(path))
    listener.close()
    assert path.exists()
    other.close()
    assert not path.exists()


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Listener(str(tmp_path / "none" / "cp"))


def test_messages_and_descriptors(pair: tuple[ControlSocket, ControlSocket]) -> None:
    master, client = pair
    client.send(Ask("check"))
    assert master.read() == Ask("check")
    assert master.take_descriptors(0) == []
    with open(os.devnull, "rb") as null:
        client.send(Attend(), (null.fileno(), null.fileno()))
    assert master.read() == Attend()
    assert master.take_descriptors(3) is None
    taken = master.take_descriptors(2)
    assert taken is not None
    for descriptor in taken:
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
    master.send(Welcome(1, 4711))
    assert client.read() == Welcome(1, 4711)
    client.close()
    assert master.read() is None


def test_too_many_descriptors_are_closed(pair: tuple[ControlSocket, ControlSocket]) -> None:
    master, client = pair
    before = len(os.listdir("/proc/self/fd"))
    with open(os.devnull, "rb") as null:
        for _ in range(2):
            client.send(Attend(), [null.fileno()] * 3)
    assert master.receive()
    with pytest.raises(RemoteProtocolError, match="too many descriptors"):
        master.receive()
    master.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_a_peer_that_does_not_read(pair: tuple[ControlSocket, ControlSocket]) -> None:
    """What waits is bounded, and goes when there is room."""
    master, client = pair
    master.sock.setblocking(False)
    message = Answered("x" * 20_000)
    sent = _sent(master, message)
    assert master.waiting
    assert sent * 20_000 < 2 * MAX_WAITING
    for _ in range(sent):
        master.flush()
        assert client.read() == message
    assert not master.waiting


def _sent(master: ControlSocket, message: Answered) -> int:
    """How often, until nothing more is kept."""
    sent = 0
    try:
        while True:
            master.send(message)
            sent += 1
    except BrokenPipeError:
        return sent
