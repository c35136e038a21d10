"""The recorder, with the session host played by the test."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qsh.clock import monotonic_s
from qsh.config.daemon_options import DaemonOptions
from qsh.server import recorder
from qsh.server.account import Account
from qsh.server.log import Log
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.record_link import (
    Begin,
    Begun,
    Failed,
    Finish,
    Joined,
    LeftOut,
    RecordAnswer,
    Sized,
    Wrote,
)
from qsh.server.recorder import MAX_RECORDINGS, Recorder
from qsh.server.recording_file import RecordingFile
from qsh.server.requests import Grant
from qsh.server.session_rules import SessionRules

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 10.0


class Lines(Log):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def _write(self, level: str, text: str, fields: Any) -> None:
        self.lines.append((f"{level} {text}", fields))


class Played:
    def __init__(self, path: Path, policy: str) -> None:
        self.log = Lines()
        account = Account("anna", os.getuid(), os.getgid(), (), "/", "/bin/sh")
        options = DaemonOptions(qsh_record=policy, qsh_record_path=str(path))
        rules = SessionRules(Grant(account, options, None, ("::1", 9), ("::1", 22)), options)
        ours, self._theirs = packet_pair()
        self.host: PacketSocket[Any] = PacketSocket(ours, RecordAnswer)
        run = Recorder(rules, 7, self.log).run
        self.thread = threading.Thread(target=run, args=(self._theirs,))
        self.thread.start()

    def ask(self, *messages: Any) -> None:
        for message in messages:
            self.host.send(message)

    def hear(self) -> Any:
        self.host.sock.settimeout(LIMIT_S)
        received = self.host.receive()
        assert received is not None
        return received[0]

    def end(self) -> None:
        self.host.close()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()
        self._theirs.close()


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    played = Played(tmp_path / "%u" / "x.cast", "closed")
    yield played
    played.end()


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_one_session(played: Played, tmp_path: Path) -> None:
    now = monotonic_s()
    played.ask(Begin(1, now, 24, 80, "xterm", b"top"))
    assert played.hear() == Begun(1)
    path = tmp_path / "anna" / "x.cast"
    header = read(path)[0]
    assert (header["width"], header["height"], header["command"]) == (80, 24, "top")
    played.ask(
        Wrote(1, now + 0.5, b"caf\xc3"),
        Wrote(1, 0.0, b"\xa9"),
        Wrote(1, now + 9e9, b"\xff"),
        Wrote(1, now, b"k", typed=True),
        Sized(1, now, 30, 90),
        Joined(1, now, "192.0.2.9"),
        LeftOut(1, now, 5),
        Wrote(1, now, b"\xe2\x82"),
        Finish(1, now),
    )
    played.end()
    events = read(path)[1:]
    assert [event[1:] for event in events] == [
        ["o", "caf"],
        ["o", "\u00e9"],
        ["o", "\ufffd"],
        ["i", "k"],
        ["r", "90x30"],
        ["m", "attached from 192.0.2.9"],
        ["m", "5 bytes of output are missing here"],
        ["o", "\ufffd"],
    ]
    assert all(0 <= event[0] < LIMIT_S for event in events), "nobody dates it otherwise"
    (start, fields), (end, _) = played.log.lines
    assert start == f"INFO Recording session of anna from ::1 port 9 to {path}"
    assert fields == {
        "event": "recording-started",
        "user": "anna",
        "address": "::1",
        "port": 9,
        "session": 7,
        "file": str(path),
    }
    assert end.startswith(f"INFO Recording of anna from ::1 port 9 ended: {path}, ")


def test_the_end_of_the_host_ends_all(played: Played, tmp_path: Path) -> None:
    for number in (1, 2):
        played.ask(Begin(number, 0.0, 24, 80, "xterm"))
        assert played.hear() == Begun(number)
        played.ask(Wrote(number, 0.0, b"last words"))
    played.end()
    for name in ("x.cast", "x-2.cast"):
        assert read(tmp_path / "anna" / name)[-1][2] == "last words"
    assert sum("ended" in line for line, _ in played.log.lines) == 2


@pytest.mark.parametrize(
    ("policy", "what"), [("open", "is not recorded"), ("closed", "must not go on")]
)
def test_a_full_disk(policy: str, what: str) -> None:
    """/dev/full takes no byte; it stands for the file, which is opened as new otherwise."""

    def full(path: str) -> RecordingFile:
        return RecordingFile(path, os.open("/dev/full", os.O_WRONLY))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "open_recording", full)
        played = Played(Path("/x.cast"), policy)
        played.ask(Begin(1, 0.0, 24, 80, "xterm"))
        assert played.hear() == Failed(1)
        played.ask(Wrote(1, 0.0, b"x"), Finish(1, 0.0))
        played.end()
    ((line, fields),) = played.log.lines
    assert line.startswith("ERROR Recording of anna from ::1 port 9 failed: /x.cast: No space left")
    assert what in line
    assert fields["event"] == "recording-failed"


def test_too_many(played: Played) -> None:
    for number in range(MAX_RECORDINGS):
        played.ask(Begin(number, 0.0, 24, 80, "xterm"))
        assert played.hear() == Begun(number)
    played.ask(Begin(MAX_RECORDINGS, 0.0, 24, 80, "xterm"))
    assert played.hear() == Failed(MAX_RECORDINGS)
    played.ask(Begin(0, 0.0, 24, 80, "xterm"))
    assert played.hear() == Failed(0)


def test_a_host_that_is_mad(played: Played, tmp_path: Path) -> None:
    played.ask(Begin(1, 0.0, 24, 80, "xterm"))
    assert played.hear() == Begun(1)
    played.host.sock.send(b"rubbish")
    played.thread.join(LIMIT_S)
    assert not played.thread.is_alive()
    assert len(read(tmp_path / "anna" / "x.cast")) == 1
