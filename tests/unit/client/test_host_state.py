"""What the client remembers of hosts."""

from __future__ import annotations

import resource
import stat
from typing import TYPE_CHECKING

import pytest

from qsh.client import host_state
from qsh.client.host_state import HostState

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_round_trip(state_home: Path) -> None:
    assert host_state.load("u", "h", 22) == HostState()
    state = HostState(rtt_ms=12.5, answered=True, key="SHA256:abc")
    host_state.save("u", "h", 22, state)
    assert host_state.load("u", "H", 22) == state
    assert host_state.load("u", "h", 23) == HostState()
    assert host_state.load("v", "h", 22) == HostState()
    (file,) = (state_home / "qsh" / "hosts").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["", "garbage", "rtt_ms x", "rtt_ms -5\nanswered maybe\n", "\xff"])
def test_garbage_is_ignored(state_home: Path, text: str) -> None:
    host_state.save("u", "h", 22, HostState(answered=True))
    (file,) = (state_home / "qsh" / "hosts").iterdir()
    file.write_text(text)
    assert host_state.load("u", "h", 22) == HostState()


def test_failure_to_write_is_ignored(state_home: Path) -> None:
    (state_home / "qsh").write_text("a file where a directory should be")
    host_state.save("u", "h", 22, HostState(answered=True))
    assert host_state.load("u", "h", 22) == HostState()


def test_a_full_disk_leaves_what_was(state_home: Path) -> None:
    host_state.save("user", "host", 22, HostState(rtt_ms=1.0, answered=True))
    before = sorted(state_home.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        host_state.save("user", "host", 22, HostState(rtt_ms=2.0, answered=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(state_home.rglob("*")) == before
    assert host_state.load("user", "host", 22).rtt_ms == 1.0


def test_host_names_do_not_become_paths(state_home: Path) -> None:
    host_state.save("u", "../../etc/x", 22, HostState(answered=True))
    assert len(list((state_home / "qsh" / "hosts").iterdir())) == 1
