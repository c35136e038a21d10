"""`qshctl status` beside running clients."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.live_server import LiveServer
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


@pytest.fixture
def env(server: LiveServer, tmp_path: Path) -> dict[str, str]:
    return {**server.env, "XDG_RUNTIME_DIR": str(tmp_path), "TERM": "xterm-256color"}


def status(env: dict[str, str], *options: str) -> str:
    argv = [sys.executable, "-m", "qsh.cli.control", "status", *options]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout


def rows(env: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(status(env, "--json"))
    return found


def test_a_client_and_its_end(server: LiveServer, env: dict[str, str], tmp_path: Path) -> None:
    argv = server.command("cat", options=("-t",))
    with OnTerminal(argv, env) as terminal:
        wait_until(lambda: os.listdir(tmp_path / "qsh") if (tmp_path / "qsh").exists() else [])
        (row,) = rows(env)
        assert row["pid"] == terminal.pid
        assert (row["kind"], row["transport"]) == ("client", "udp")
        assert row["remote"] == f"127.0.0.1:{server.port}"
        assert 0 < row["shortest_rtt_ms"] <= row["rtt_ms"]
        assert (row["migrations"], row["resumes"]) == (0, 0)
        assert row["mtu"] >= 1200
        assert str(row["pid"]) in status(env)
        place = tmp_path / "qsh"
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE((place / str(row["pid"])).stat().st_mode) == 0o600
        terminal.type(b"~s")
        terminal.expect(b"migrations 0, resumes 0")
        terminal.type(b"\x04")
        assert terminal.wait() == 0
    assert os.listdir(tmp_path / "qsh") == []
    assert rows(env) == []


def test_one_that_was_killed_leaves_nothing(
    server: LiveServer, env: dict[str, str], tmp_path: Path
) -> None:
    with OnTerminal(server.command("cat", options=("-t",)), env) as terminal:
        wait_until(lambda: os.listdir(tmp_path / "qsh") if (tmp_path / "qsh").exists() else [])
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.wait()
        assert os.listdir(tmp_path / "qsh") != []
        assert rows(env) == []
        assert os.listdir(tmp_path / "qsh") == []


def test_a_master(server: LiveServer, env: dict[str, str], tmp_path: Path) -> None:
    options = ("-o", f"ControlPath={tmp_path}/c", "-o", "ControlMaster=auto")
    persist = (*options, "-o", "ControlPersist=60")
    subprocess.run(server.command("true", options=persist), env=env, check=True)
    try:
        wait_until(lambda: os.listdir(tmp_path / "qsh") if (tmp_path / "qsh").exists() else [])
        (row,) = rows(env)
        assert row["kind"] == "master"
    finally:
        leave = server.command(options=(*options, "-O", "exit"))
        subprocess.run(leave, env=env, check=True, stderr=subprocess.DEVNULL)
    wait_until(lambda: not os.listdir(tmp_path / "qsh"))
