"""The spawner's answers when there is no process to be had, and its queue of login records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from qsh.auth.key_options import KeyOptions
from qsh.config import daemon_parser
from qsh.server import login_records
from qsh.server import spawner as module
from qsh.server.account import Account
from qsh.server.log import Log
from qsh.server.login import Opinion
from qsh.server.login_child import LoginChild
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.reloading import Reread, rules_of
from qsh.server.requests import (
    Login,
    LoginRecord,
    RecordLogout,
    Reload,
    Reloaded,
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
        yield Spawner(PacketSocket(ours, SpawnerRequest), config, log, no_front, no_front), monitor
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


def test_a_session_begins_with_what_its_login_was_judged_by(
    played: tuple[Spawner, PacketSocket[Any]],
) -> None:
    """The configuration may be read again in between; one with an error is none."""
    spawner, monitor = played
    first = spawner.config
    second = daemon_parser.parse("PermitTTY no", "config", lambda pattern: [])
    rules = rules_of(second.options, "", "INFO", [])
    for reread, now in ((Reread(None, ("bad",)), first), (Reread(second, (), rules), second)):
        spawner.reload = lambda reread=reread: reread
        monitor.send(Reload())
        spawner._read_monitor()
        answer, _ = monitor.receive() or (None, [])
        assert answer == Reloaded(list(reread.errors), reread.rules)
        assert spawner.config is now
    someone = Account("anna", 1, 1, (1,), "/", "/bin/sh")
    login = Login(b"i" * 46, "anna", ("192.0.2.1", 1), ("192.0.2.2", 22))
    opinion = Opinion("accepted", "", (), someone, second.options, KeyOptions())
    child = LoginChild(spawner.config, len(spawner._generations) - 1, spawner.log)
    grant = child._grant(login, [], opinion)
    assert grant is not None
    assert (grant.options, grant.generation) == (None, 1)
    assert spawner._generations == [first.options, second.options]
