"""Session hosts of an older version: what they say is understood, and what they are told has all that they know of.

A host that outlives its qshd is asked by those of the next one, at its door, and passed frames of a terminal. What both looked
like in each version is kept as bytes in tests/data/session-host-VERSION.json, and never changed: a field may be added, with a
default and at the end. `python -m tests.unit.server.test_older_hosts VERSION` makes the file of a new version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qsh.server import session_directory as door
from qsh.server.requests import Call, encode
from qsh.server.session_description import Description
from qsh.server.session_rules import Rights
from qsh.wire import terminal
from qsh.wire.messages import Attach

DATA = Path(__file__).parents[2] / "data"
FILES = sorted(DATA.glob("session-host-*.json"))

RIGHTS = Rights(None, True, True, True, False)
CLIENT, TICKET = b"c" * 16, b"t" * 16
ATTACH = Attach(CLIENT, TICKET, 4711, host="laptop", typed=b"ls", typed_from=12)
DESCRIPTION = Description("3", "laptop", 1.5, 2.5, 24, 80, "vi", 1, 0.0, False)
TTY = terminal.TtyState(3, 35, 127, 21, 23, 4, 22, 18, 3, 28, 26, 2, "bash")

QUESTIONS = {
    "describe": door.Describe(),
    "attach": door.AttachTo(ATTACH, RIGHTS, (24, 80, 0, 0), "192.0.2.1", ("agent",)),
    "hangup": door.UserHangUp(),
    "path": door.LinkState(10_000, 5),
    "call-over": door.CallOver("x11"),
    "detach-all": door.DetachAll(RIGHTS),
    "kill": door.Kill(RIGHTS, "too many"),
    "history": door.History(RIGHTS, 100),
    "holds": door.Holds(CLIENT, TICKET),
}
ANSWERS = {
    "described": door.Described(DESCRIPTION, RIGHTS),
    "opened": door.Opened(),
    "call": door.PassCall(Call("agent")),
    "refused": door.Refused("not-permitted", "no"),
    "done": door.Done(),
    "lines": door.HistoryPart(b"text\n", True),
}
TO_HOST = {
    "input": terminal.Input(12, b"ls\r", 4711),
    "report": terminal.Report(4711, 9_000),
    "resized": terminal.Resized(12, 30, 90),
    "detach": terminal.Detach(),
    "fetch": terminal.FetchHistory(1, 0, 50),
    "ended-ack": terminal.EndedAck(),
    "repaint": terminal.Repaint(),
    "break": terminal.SendBreak(),
}
FROM_HOST = {
    "output": terminal.Output(4711, b"ls\r\n", 15, 15, TTY),
    "note": terminal.Note(4715, 15, 15, TTY),
    "frame": terminal.Frame(4700, 4715, b"\x1b[H", 15, 15, TTY, 1, 2, True),
    "ended": terminal.Ended(4715, 7),
    "history-lines": terminal.HistoryLines(1, 0, [(b"text", False)], 0, 1),
    "attached": terminal.Attached("3", TICKET, 4711, 12, 24, 80, ["2 waits"]),
    "detached": terminal.Detached("taken"),
    "event": terminal.Event(b"\a"),
}
EVERY = QUESTIONS | ANSWERS | TO_HOST | FROM_HOST
assert len(EVERY) == sum(map(len, (QUESTIONS, ANSWERS, TO_HOST, FROM_HOST))), (
    "a name stands for one"
)


def encoded(message: Any) -> bytes:
    if isinstance(message, terminal.Base):
        return terminal.encode_datagram(message)
    return encode(message)


def has_all_of(new: Any, old: Any) -> bool:
    """Whether who knows ``old`` finds it in ``new``: keys that one does not know, and items behind the last, are passed over."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and has_all_of(new[key], value) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(new) >= len(old) and all(map(has_all_of, new, old))
    return type(new) is type(old) and bool(new == old)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def older(request: pytest.FixtureRequest) -> dict[str, bytes]:
    texts: dict[str, str] = json.loads(request.param.read_text())
    return {name: bytes.fromhex(text) for name, text in texts.items()}


def test_a_version_is_kept() -> None:
    assert FILES


def test_what_they_say_is_understood(older: dict[str, bytes]) -> None:
    for name, message in ANSWERS.items():
        if name in older:
            assert msgspec.msgpack.decode(older[name], type=door.Answer) == message
    for name, frame in FROM_HOST.items():
        if name in older:
            assert terminal.decode_datagram(older[name], terminal.HostFrame) == frame


def test_what_they_are_told_has_all_that_they_know(older: dict[str, bytes]) -> None:
    for name in QUESTIONS | TO_HOST:
        if name in older:
            new = msgspec.msgpack.decode(encoded(EVERY[name]))
            assert has_all_of(new, msgspec.msgpack.decode(older[name])), name


def test_nothing_of_theirs_was_taken_away(older: dict[str, bytes]) -> None:
    assert older.keys() <= EVERY.keys()


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({"t": "kill"}, {"t": "kill", "reason": "x"}),
        ({"t": "kill", "reason": 1}, {"t": "kill", "reason": "1"}),
        ([1, 12], [1, 12, b"ls"]),
        ([1, b"ls", 12], [1, 12, b"ls"]),
    ],
)
def test_the_comparison_sees_what_is_missing(new: Any, old: Any) -> None:
    """The control."""
    assert not has_all_of(new, old)
    assert has_all_of(old, old)


if __name__ == "__main__":
    found = {name: encoded(message).hex() for name, message in EVERY.items()}
    path = DATA / f"session-host-{sys.argv[1]}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
