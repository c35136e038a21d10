"""qsh.server.service beside somebody who plays systemd."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.server import service
from qsh.server.service import Inherited, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Peer:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.setblocking(False)

    def told(self) -> list[tuple[str, int]]:
        """Each message and the number of descriptors that came with it."""
        found = []
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self.sock, 4096, 8)
            except BlockingIOError:
                return found
            for descriptor in descriptors:
                os.close(descriptor)
            found.append((data.decode(), len(descriptors)))


@pytest.fixture(params=["path", "abstract"])
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    found = Peer(f"{tmp_path}/notify" if request.param == "path" else f"@qsh-test-{os.getpid()}")
    yield found
    found.sock.close()


def udp(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def test_messages(peer: Peer) -> None:
    told = Service(peer.address)
    told.ready()
    told.status("Sessions: 3")
    told.stopping()
    assert peer.told() == [("READY=1", 0), ("STATUS=Sessions: 3", 0), ("STOPPING=1", 0)]


def test_a_reload_names_the_time(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "monotonic_s", lambda: 12.5)
    Service(peer.address).reloading()
    assert peer.told() == [("RELOADING=1\nMONOTONIC_USEC=12500000", 0)]


def test_nobody_listens(tmp_path: Path) -> None:
    for address in ("", f"{tmp_path}/none"):
        Service(address).ready()


def test_signs_of_life_at_half_the_time(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "monotonic_s", lambda: 100.0)
    told = Service(peer.address, watchdog_s=30.0)
    assert told.deadline_s == 115.0
    told.alive(114.9)
    assert peer.told() == []
    told.alive(115.0)
    assert peer.told() == [("WATCHDOG=1", 0)]
    assert told.deadline_s == 130.0


def test_without_a_watchdog_there_is_no_deadline(peer: Peer) -> None:
    told = Service(peer.address)
    assert told.deadline_s is None
    told.alive(1e9)
    assert peer.told() == []


def test_the_environment_is_for_this_process_alone(peer: Peer) -> None:
    mine = str(os.getpid())
    environment = {
        "NOTIFY_SOCKET": peer.address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": mine,
        "LISTEN_PID": "1",
        "LISTEN_FDS": "2",
        "LISTEN_FDNAMES": "a:b",
        "HOME": "/",
    }
    told = Service.of(environment)
    assert environment == {"HOME": "/"}
    assert told.deadline_s is not None
    assert told.inherited == Inherited([], {})  # they were for process 1


@pytest.mark.parametrize(
    "environment",
    [
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"},
        {"LISTEN_PID": "me", "LISTEN_FDS": "-1"},
    ],
)
def test_nonsense_counts_as_nothing(environment: dict[str, str]) -> None:
    told = Service.of(
        {name: str(os.getpid()) if value == "me" else value for name, value in environment.items()}
    )
    assert told.deadline_s is None
    assert told.inherited == Inherited([], {})


def test_sockets_are_told_apart_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = [udp(), udp()]
    first = max(map(int, os.listdir("/proc/self/fd"))) + 10  # nothing is open behind them
    for number, sock in enumerate(sockets):
        os.dup2(sock.fileno(), first + number)
    monkeypatch.setattr(service, "FIRST", first)
    listen = {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "3",
        "LISTEN_FDNAMES": "qshd.socket:qshd-1",
    }
    told = Service.of(listen)
    (given,), named = told.inherited
    stored = named["qshd-1"]
    assert [given.getsockname(), stored.getsockname()] == [sock.getsockname() for sock in sockets]
    assert not given.get_inheritable()
    for sock in (*sockets, given, stored):
        sock.close()


def test_what_is_bound_is_stored(peer: Peer) -> None:
    told = Service(peer.address)
    found, failures = told.listen(socket.SOCK_DGRAM, [("127.0.0.1", 0)], udp)
    sock = found["127.0.0.1", 0]
    assert failures == []
    assert peer.told() == [("FDSTORE=1\nFDNAME=qshd-1", 1)]
    sock.close()


def test_a_stored_socket_is_taken_where_it_is_wanted(peer: Peer) -> None:
    stored, other = udp(), udp()
    host, port = stored.getsockname()
    told = Service(peer.address, inherited=Inherited([], {"qshd-1": other, "qshd-2": stored}))
    found, failures = told.listen(socket.SOCK_DGRAM, [(host, port)], udp)
    assert found == {(host, port): stored}
    assert failures == []
    assert peer.told() == []  # systemd has it
    told.close_unused()
    assert other.fileno() == -1
    assert peer.told() == [("FDSTOREREMOVE=1\nFDNAME=qshd-1", 0)]
    stored.close()


def test_a_reload_stores_what_is_new_and_lets_go_of_what_is_not_wanted(peer: Peer) -> None:
    first, second = udp(), udp()
    told = Service(peer.address, inherited=Inherited([], {"qshd-1": first}))
    told.store(second)
    assert peer.told() == [("FDSTORE=1\nFDNAME=qshd-2", 1)]
    told.keep([second.getsockname()])
    assert peer.told() == [("FDSTOREREMOVE=1\nFDNAME=qshd-1", 0)]
    told.store(first)
    assert peer.told() == [("FDSTORE=1\nFDNAME=qshd-1", 1)]
    for sock in (first, second):
        sock.close()


def test_everywhere_is_one_address_of_both_families(peer: Peer) -> None:
    stored = udp("::")
    told = Service(peer.address, inherited=Inherited([], {"qshd-7": stored}))
    place = ("", stored.getsockname()[1])
    found, _ = told.listen(socket.SOCK_DGRAM, [place], udp)
    assert found == {place: stored}
    stored.close()


def test_a_socket_unit_says_where_qshd_listens(peer: Peer) -> None:
    given = udp()
    told = Service(peer.address, inherited=Inherited([given], {}))
    found, _ = told.listen(socket.SOCK_DGRAM, [("127.0.0.1", 1)], udp)
    assert list(found.values()) == [given]
    assert peer.told() == []
    given.close()


def test_what_cannot_be_bound_is_named() -> None:
    taken = udp()
    host, port = taken.getsockname()
    found, ((failed_host, failed_port, error),) = Service().listen(
        socket.SOCK_DGRAM, [(host, port)], udp
    )
    assert (found, failed_host, failed_port) == ({}, host, port)
    assert "in use" in str(error)
    taken.close()


@pytest.mark.timeout(30)
def test_who_does_not_read_holds_nobody_up(peer: Peer) -> None:
    """The queue of a socket takes some ten messages; the monitor has others to serve."""
    told = Service(peer.address, watchdog_s=30.0)
    assert told.deadline_s is not None
    for number in range(600):
        told.status(f"Sessions: {number}")
        told.alive(told.deadline_s)
    queued = len(peer.told())
    assert 0 < queued < 1200
    told.ready()
    assert peer.told() == [("READY=1", 0)]


def test_what_matters_is_waited_for_a_little(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "WAIT_S", 0.01)
    told = Service(peer.address)
    for number in range(600):
        told.status(f"Sessions: {number}")
    told.ready()
    assert ("READY=1", 0) not in peer.told()
