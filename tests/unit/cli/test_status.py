"""The table of `qshctl status`, and what is made of sockets that do not answer as they should."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from qsh.cli.status import ask_all, table
from qsh.client.status_directory import directory, pids, socket_of

if TYPE_CHECKING:
    from pathlib import Path

ROW = {
    "pid": 7,
    "host": "example.org\x1b[31m",
    "kind": "client",
    "transport": "udp",
    "local": "192.0.2.1:4000",
    "remote": "198.51.100.1:22",
    "duration_s": 90,
    "rtt_ms": 40.12,
    "queue_ms": 3.0,
    "sent_packets": 200,
    "lost_packets": 1,
    "mtu": 1452,
    "window": 14520,
    "received_bytes_per_s": 1500,
    "sent_bytes_per_s": 10,
    "migrations": 2,
    "resumes": 1,
}


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "qsh").mkdir(0o700)
    return tmp_path / "qsh"


def listener(pid: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(socket_of(pid))
    sock.listen()
    return sock


def test_table() -> None:
    head, line = table([ROW]).splitlines()
    assert head.split()[:6] == ["PID", "HOST", "KIND", "FOR", "SILENT", "PATH"]
    assert "\x1b" not in line
    words = line.split()
    assert words[0] == "7"
    assert "udp 192.0.2.1:4000 -> 198.51.100.1:22" in line
    assert "0.5 %" in line
    assert line.endswith("1.5 kB/s  10 B/s  2      1")


def test_silence_is_in_the_table() -> None:
    _, line = table([ROW | {"unanswered_s": 22}]).splitlines()
    assert line.split()[3:6] == ["00:01:30", "22", "s"]


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"[1]", b'{"host": 3, "rtt_ms": "x"}'])
def test_answers_that_are_none(answer: bytes) -> None:
    with listener(7) as sock:

        def tell() -> None:
            peer, _ = sock.accept()
            with peer:
                peer.sendall(answer)

        thread = threading.Thread(target=tell)
        thread.start()
        rows = ask_all()
        thread.join()
    assert [row["pid"] for row in rows] == [7]
    assert "?" in table(rows)


def test_what_is_left_of_the_dead_is_removed(runtime: Path) -> None:
    listener(7).close()
    (runtime / "note").write_text("")
    assert ask_all() == []
    assert os.listdir(runtime) == ["note"]


def test_a_directory_that_others_may_write_to_is_not_looked_at(runtime: Path) -> None:
    with listener(7):
        assert pids() == [7]
        runtime.chmod(0o777)
        assert pids() == []


def test_without_a_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert directory() == str(tmp_path / "state" / "qsh" / "run")
    assert ask_all() == []


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e999", "1" + "0" * 400])
def test_numbers_without_measure(number: str) -> None:
    row = json.loads(json.dumps(ROW).replace(": 90,", f": {number},"))
    assert len(table([row]).splitlines()) == 2
