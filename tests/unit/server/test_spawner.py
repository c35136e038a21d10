"""The spawner's answers when there is no process to be had, and its queue of login records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from qsh.config import daemon_parser
from qsh.server import login_records
from qsh.server import spawner as module
from qsh.server.log import Log
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import (
    LoginRecord,
    RecordLogout,
    SpawnerReport,
    SpawnerRequest,
    SpawnFailed,
    StartFront,
)
from qsh.server.spawner import Spawner

if TYPE_CHECKING:
    from collections.abc import Iterator


def no_front(*_: object) -> NoReturn:
    raise AssertionError("never in this process")


@pytest.fixture
def played() -> Iterator[tuple[Spawner, PacketSocket[Any]]]:
    ours, theirs = packet_pair()
    monitor: PacketSocket[Any] = PacketSocket(theirs, SpawnerReport)
    config = daemon_parser.parse("", "config", lambda pattern: [])
    with open(os.devnull, "w") as sink:
        log = Log(file=sink.fileno())
        yield Spawner(PacketSocket(ours, SpawnerRequest), config, log, no_front), monitor
    ours.close()
    theirs.close()


def test_a_failed_fork_is_reported(
    played: tuple[Spawner, PacketSocket[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> NoReturn:
        raise OSError(11, "Resource temporarily unavailable")

    spawner, monitor = played
    monkeypatch.setattr(os, "fork", none_left)
    monitor.send(StartFront())
    spawner._read_monitor()
    assert monitor.receive() == (SpawnFailed(0), [])


def test_login_records_are_written_in_order_by_one_child_at_a_time(
    played: tuple[Spawner, PacketSocket[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner, monitor = played
    read, write = os.pipe()
    go_on, done = os.pipe()

    def slowly(record: LoginRecord) -> list[str]:
        os.read(go_on, 1)
        os.write(write, record.line.encode())
        return []

    monkeypatch.setattr(login_records, "write", slowly)
    monkeypatch.setattr(module, "close_others", lambda keep: None)
    monkeypatch.setattr(module, "set_title", lambda title: None)
    for line in "abc":
        monitor.send(RecordLogout(line, 1, 0.0))
        spawner._read_monitor()
    assert "".join(record.line for record in spawner._records) == "bc"
    os.write(done, b"123")
    for expected in (b"a", b"bc"):
        while spawner._recorder and not os.waitid(os.P_PID, spawner._recorder, os.WEXITED | os.WNOWAIT):  # fmt: skip
            pass
        spawner._reap()
        assert os.read(read, 1) == expected[:1]
        if expected[1:]:
            assert os.read(read, 1) == expected[1:]
    assert not spawner._recorder
    for descriptor in (read, write, go_on, done):
        os.close(descriptor)
