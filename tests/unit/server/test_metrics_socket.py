"""qsh.server.metrics_socket on a selector, as the monitor runs it."""

from __future__ import annotations

import os
import selectors
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.server import metrics_socket
from qsh.server.metrics_socket import MetricsSocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Served:
    """The socket and its selector."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.selector = selectors.DefaultSelector()
        self.server = MetricsSocket(self.path, self.selector, lambda: "page 1\n")

    def turn(self) -> None:
        """All that is ready."""
        while events := self.selector.select(0.01):
            for key, _ in events:
                key.data()

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(self.path)
        sock.settimeout(5)
        return sock

    def ask(self, *pieces: bytes) -> bytes:
        with self.connect() as sock:
            for piece in pieces:
                sock.send(piece)
                self.turn()
            return b"".join(iter(lambda: sock.recv(4096), b""))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    found = Served(tmp_path / "metrics" / "socket")
    yield found
    found.server.close()
    found.selector.close()


def test_the_page(served: Served) -> None:
    head, _, body = served.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert b"Content-Length: 7" in head
    assert body == b"page 1\n"


def test_a_request_in_pieces(served: Served) -> None:
    assert served.ask(b"GET /met", b"rics HTTP/1.0\r\n").endswith(b"page 1\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.0\r\n\r\n", b"400"),
        (b"\n", b"400"),
        (b"\xff" * metrics_socket.MAX_REQUEST, b"400"),
    ],
)
def test_what_is_no_request(served: Served, request_: bytes, status: bytes) -> None:
    assert served.ask(request_).split()[1] == status


def test_silent_peers_do_not_keep_others_out(served: Served) -> None:
    silent = []
    for _ in range(metrics_socket.MAX_PEERS + 3):
        silent.append(served.connect())
        served.turn()
    assert served.ask(b"GET /metrics HTTP/1.0\r\n\r\n").endswith(b"page 1\n")
    assert silent[0].recv(1) == b"", "the oldest was cut off"
    for sock in silent:
        sock.close()


def test_a_stranger_is_not_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_socket, "_uid_of", lambda peer: 12345)
    with served.connect() as sock:
        sock.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        served.turn()
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:  # what it sent was not even read
            pass


def test_only_its_owner_gets_there(served: Served) -> None:
    assert os.stat(os.path.dirname(served.path)).st_mode & 0o777 == 0o700
    assert os.stat(served.path).st_mode & 0o777 == 0o600


def test_a_socket_of_the_one_before_is_replaced(tmp_path: Path) -> None:
    first = Served(tmp_path / "m" / "socket")
    second = Served(tmp_path / "m" / "socket")
    first.server.close()
    assert os.path.exists(second.path), "it was not the first one's any more"
    assert second.ask(b"GET /metrics HTTP/1.0\r\n\r\n").endswith(b"page 1\n")
    second.server.close()
    assert not os.path.exists(second.path)
    for each in (first, second):
        each.selector.close()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o1777])
def test_a_directory_that_others_enter_is_not_used(tmp_path: Path, mode: int) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m").chmod(mode)
    with selectors.DefaultSelector() as selector, pytest.raises(PermissionError, match="0700"):
        MetricsSocket(str(tmp_path / "m" / "socket"), selector, str)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "m").symlink_to("real")
    with selectors.DefaultSelector() as selector, pytest.raises(PermissionError):
        MetricsSocket(str(tmp_path / "m" / "socket"), selector, str)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir(mode=0o700)
    (tmp_path / "m" / "socket").write_text("precious")
    with selectors.DefaultSelector() as selector, pytest.raises(OSError, match="in use"):
        MetricsSocket(str(tmp_path / "m" / "socket"), selector, str)
    assert (tmp_path / "m" / "socket").read_text() == "precious"
