"""The numbers of a real qshd, as an agent of Prometheus would fetch them."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / "socket"


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, where: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), f"QshMetricsSocket {where}")
    yield server
    server.stop()


def fetch(where: Path) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(where))
        sock.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def value(page: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_logins_sessions_and_connections(server: LiveServer, where: Path) -> None:
    assert server.run("true").returncode == 0
    server.run("true", options=("-l", "nobody-here"))
    accepted = 'qshd_logins_total{method="publickey",outcome="accepted"}'
    refused = 'qshd_logins_total{method="publickey",outcome="refused"}'
    page = fetch(where)
    assert value(page, accepted) == 1
    assert value(page, refused) == 1
    assert value(page, "qshd_sessions_total") == 1
    assert value(page, "qshd_handshakes_total") == 2
    assert value(page, 'qshd_resident_bytes{process="front"}') > 1e6
    wait_until(
        lambda: value(fetch(where), 'qshd_attempts_total{decision="accept"}') == 2, "attempts told"
    )
    wait_until(lambda: value(fetch(where), "qshd_sessions") == 0, "the session counts no more")


def test_it_goes_with_qshd(server: LiveServer, where: Path) -> None:
    server.process.terminate()
    server.process.wait(10)
    assert not where.exists()
