"""qshctl's view of a user's sessions: the table, and command lines that cannot be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qsh.cli import sessions

if TYPE_CHECKING:
    from collections.abc import Callable

ROW: dict[str, Any] = {
    "user": "alice",
    "name": "1",
    "host": "laptop",
    "started": 1000.0,
    "traffic": 4000.0,
    "rows": 24,
    "cols": 80,
    "command": "vim",
    "attached": 1,
    "ended": False,
}


def test_the_table() -> None:
    rows = [ROW, {**ROW, "name": "work", "attached": 0, "traffic": 4599.0}]
    assert sessions.table(rows, 4600.0).splitlines() == [
        "NAME  USER   FROM    STARTED  LAST TRAFFIC  SIZE   STATE     COMMAND",
        "1     alice  laptop  1 h ago  10 min ago    80×24  attached  vim",
        "work  alice  laptop  1 h ago  1 s ago       80×24  detached  vim",
    ]


@pytest.mark.parametrize(
    ("fields", "state"),
    [({"attached": 2}, "attached × 2"), ({"ended": True}, "ended"), ({"attached": 0}, "detached")],
)
def test_states(fields: dict[str, Any], state: str) -> None:
    assert state in sessions.table([{**ROW, **fields}], 5000.0)


def test_a_host_that_lies_writes_no_escapes() -> None:
    evil = {**ROW, "command": "\x1b]52;c;aGk=\x07", "name": "a\nb", "started": "never", "rows": []}
    text = sessions.table([evil], 5000.0)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize("answer", [b"", b"[1]", b"{}", b"\xff", b"[" * 100_000])
def test_an_answer_that_is_no_list(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sessions, "sessions", lambda _options, _command, **_: (0, answer))
    assert sessions.list_sessions(["-F", "none", "host"]) == sessions.FAILED
    assert "no list of sessions" in capsys.readouterr().err


def test_json_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sessions, "sessions", lambda _options, _command, **_: (0, json.dumps([ROW]).encode())
    )
    assert sessions.list_sessions(["-F", "none", "host"], as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == [ROW]


@pytest.mark.parametrize(
    ("call", "usage"),
    [
        (lambda: sessions.list_sessions(["-F", "none", "host", "1"]), "qshctl sessions"),
        (lambda: sessions.attach_to(["-F", "none", "host"]), "destination name"),
        (lambda: sessions.attach_to(["-F", "none", "host", "1"], history_lines=5000), "--lines"),
        (lambda: sessions.command("kill", ["-F", "none", "host", "1", "2"]), "qshctl kill"),
        (lambda: sessions.history(["-F", "none", "host", "1"], 0), "--lines"),
    ],
)
def test_command_lines_that_cannot_be(
    call: Callable[[], int], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call() == sessions.FAILED
    assert usage in capsys.readouterr().err


def test_the_verb_goes_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        sessions,
        "sessions",
        lambda options, command, **_: (asked.append((options.user, command)), (0, b""))[1],
    )
    assert sessions.command("detach", ["-F", "none", "bob@host", "7"]) == 0
    assert sessions.history(["-F", "none", "bob@host", "7"], 10) == 0
    assert asked == [("bob", "detach 7"), ("bob", "history 7 10")]
