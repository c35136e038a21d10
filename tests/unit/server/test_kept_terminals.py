"""Terminals without a client: how long they wait for one, and what ends them."""

from __future__ import annotations

import json
import os
import select
import time
from typing import TYPE_CHECKING, Any

import pytest

from qsh.auth.key_options import KeyOptions
from qsh.server.kept_terminals import KeptTerminals
from qsh.server.requests import (
    ChannelFailed,
    HangUp,
    OpenChannel,
)
from qsh.server.session_commands import make_room
from qsh.server.session_directory import SessionDirectory
from qsh.wire.messages import Attach
from qsh.wire.terminal import (
    Detach,
    Detached,
)
from tests.unit.server.played_host import LIMIT_S, OTHER, Client, Played, close_clients, end_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clients_are_closed() -> Iterator[None]:
    yield
    close_clients()


def test_a_terminal_outlives_client_and_front(tmp_path: Path) -> None:
    first = Played(tmp_path, detached_max=60)
    client = first.open(b"echo before; cat")
    client.saw(b"before")
    client.close()
    first.leave()
    second = Played(tmp_path, detached_max=60)
    status, out, _ = second.command(b"list")
    assert status == 0
    (row,) = json.loads(out)
    assert (row["name"], row["attached"], row["user"]) == ("1", 0, "me")
    visitor = Client(OTHER)
    second.attach("1", visitor)
    visitor.saw(b"before")
    assert visitor.frames, "a fresh client gets a painting"
    visitor.type(b"after\r")
    visitor.saw(b"after")
    assert second.command(b"detach 1")[0] == 0
    assert visitor.last(Detached).reason == "by-command"
    assert second.command(b"history 1")[1].decode().split() == ["before", "after", "after"]
    assert second.command(b"kill 1")[0] == 0
    first.thread.join(LIMIT_S)
    assert not first.thread.is_alive(), "no front and no terminal: the host ends"
    assert second.command(b"list")[1] == b"[]\n"
    status, _, err = second.command(b"kill 1")
    assert status == 1
    assert b"no session" in err
    visitor.close()
    first.close()
    second.close()


def test_hang_up_ends_the_terminal(tmp_path: Path) -> None:
    host = Played(tmp_path)
    marker = tmp_path / "hup"
    client = host.open(f"trap 'echo > {marker}; exit' HUP; echo ready; read x".encode())
    client.saw(b"ready")
    host.front.send(HangUp(4))
    client.until(lambda: client.eof)
    deadline = time.monotonic() + LIMIT_S
    while not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    client.close()
    host.close()


def test_without_time_to_wait_a_lost_client_hangs_up(tmp_path: Path) -> None:
    host = Played(tmp_path, detached_max=0)
    client = host.open(b"echo $$; cat")
    client.saw(b"\n")
    pid = int(bytes(client.shown).split()[0])
    handle = os.pidfd_open(pid)
    client.close()
    assert select.select([handle], [], [], LIMIT_S)[0]
    os.close(handle)
    host.close()


@pytest.mark.parametrize(
    "key",
    [KeyOptions(command="true"), KeyOptions(pty=False), KeyOptions(restricted=True, pty=False)],
)
def test_lesser_logins_may_not_visit(tmp_path: Path, key: KeyOptions) -> None:
    owner = Played(tmp_path, detached_max=60)
    client = owner.open(b"cat")
    lesser = Played(tmp_path, key=key)
    for request in (
        OpenChannel(4, "attach", b"1", terminal=Attach(OTHER)),
        OpenChannel(4, "attach", b"1", terminal=Attach(OTHER, ticket=b"x" * 16)),
        OpenChannel(4, "sessions", b"list"),
    ):
        answer, _ = lesser.ask(request)
        assert isinstance(answer, ChannelFailed)
        assert answer.code == "not-permitted"
    client.close()
    lesser.close()
    end_all(owner, tmp_path)
    owner.close()


def test_an_idle_shell_ends_before_one_with_jobs(tmp_path: Path) -> None:
    host = Played(tmp_path, detached_idle_max=1, detached_max=60)
    busy = host.open(b"sleep 1000; true", client=Client(OTHER))
    idle = host.open(b"read x", channel=8)
    busy.close()
    idle.close()
    deadline = time.monotonic() + LIMIT_S
    while not any("DetachedIdleMax" in line for line in host.lines):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [row["name"] for row in json.loads(host.command(b"list")[1])] == ["1"]
    end_all(host, tmp_path)
    host.close()


def test_too_many_detached_sessions_cost_the_oldest_idle_one(tmp_path: Path) -> None:
    host = Played(tmp_path, detached_per_user=2, detached_max=60)
    for number, command in enumerate((b"sleep 1000; true", b"read x", b"read x")):
        client = host.open(command, channel=4 + 4 * number)
        client.send(Detach())
        client.last(Detached)
        client.close()
    deadline = time.monotonic() + LIMIT_S
    while not any("too many" in line for line in host.lines):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [row["name"] for row in json.loads(host.command(b"list", 100)[1])] == ["1", "3"]
    end_all(host, tmp_path)
    host.close()


def test_lost_clients_cost_no_session(tmp_path: Path) -> None:
    """A front that was killed loses all clients at once, and they come back; so does a laptop that slept."""
    host = Played(tmp_path, detached_per_user=1, detached_max=60)
    for number in range(3):
        host.open(b"read x", channel=4 + 4 * number).close()
    client = host.open(b"read x", channel=16)
    client.send(Detach())
    client.last(Detached)
    client.close()
    rows: list[dict[str, Any]] = []
    while not rows or any(row["attached"] for row in rows):
        rows = json.loads(host.command(b"list", 100)[1])
    make_room(SessionDirectory(str(tmp_path / "sessions" / str(os.getuid()))), 1)
    rows = json.loads(host.command(b"list", 104)[1])
    assert [row["name"] for row in rows] == ["1", "2", "3", "4"]
    end_all(host, tmp_path)
    host.close()


def test_nobody_counts_sessions_when_a_client_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All hosts of a front that was killed would have a process ask all others, while all clients come back."""
    counted: list[int] = []
    monkeypatch.setattr(KeptTerminals, "_make_room", lambda _, limit: counted.append(limit))
    host = Played(tmp_path, detached_per_user=1, detached_max=60)
    host.open(b"read x").close()
    while any(row["attached"] for row in json.loads(host.command(b"list", 100)[1])):
        pass
    assert counted == []
    client = host.open(b"read x", channel=8)
    client.send(Detach())
    client.last(Detached)
    client.close()
    while any(row["attached"] for row in json.loads(host.command(b"list", 104)[1])):
        pass
    assert counted == [1]
    end_all(host, tmp_path)
    host.close()


def test_clients_that_were_lost_long_ago_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsh.server.session_commands.LOST_S", 0.0)
    host = Played(tmp_path, detached_per_user=1, detached_max=60)
    for number in range(2):
        host.open(b"read x", channel=4 + 4 * number).close()
    deadline = time.monotonic() + LIMIT_S
    while not any("too many" in line for line in host.lines):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    end_all(host, tmp_path)
    host.close()
