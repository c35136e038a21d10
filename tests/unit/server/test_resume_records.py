"""Records of who may resume what: only the monitor makes them, and each is good for one user, key and client."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from qsh.server.requests import Login
from qsh.server.resume_records import ResumeRecords
from qsh.wire.messages import Resume

KEY, PUBLIC = b"blob of the login's key", b"p" * 32
RECORDS = ResumeRecords(b"s" * 32)
RECORD = RECORDS.seal("anna", 1000, KEY, PUBLIC)


def login(record: bytes = RECORD, public: bytes = PUBLIC, **changes: Any) -> Login:
    resume = Resume(public, record, "1", b"c" * 16, b"t" * 16, b"s" * 64)
    found = Login(b"i" * 46, "anna", ("::1", 1), ("::1", 2), [KEY], resume=resume)
    return msgspec.structs.replace(found, **changes)


def test_a_record_tells_its_user() -> None:
    assert RECORDS.opened(login()) == 1000
    assert len(RECORD) == 36


def test_a_monitor_that_was_started_again_knows_it() -> None:
    assert ResumeRecords(b"s" * 32).opened(login()) == 1000


@pytest.mark.parametrize(
    "methods",
    [["publickey"], ["password"], ["publickey", "keyboard-interactive"], ["publickey"] * 28],
)
def test_a_record_tells_what_was_done(methods: list[str]) -> None:
    record = RECORDS.seal("anna", 1000, KEY, PUBLIC, methods)
    assert len(record) <= 64
    assert RECORDS.opened(login(record)) == 1000
    assert RECORDS.methods(login(record)) == methods
    others = [RECORD[:36] + b"\1\2", record[:36], record[:36] + b"\0", record + b"\1"]
    for other in others:
        assert other == record or RECORDS.methods(login(other)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"record": b""},
        {"record": bytes(36)},
        {"record": RECORD[:-1]},
        {"record": RECORD + b"\0"},
        {"record": (0).to_bytes(4, "big") + RECORD[4:]},
        {"record": RECORDS.seal("bert", 1000, KEY, PUBLIC)},
        {"record": RECORDS.seal("anna", 1000, b"another key", PUBLIC)},
        {"record": ResumeRecords(b"o" * 32).seal("anna", 1000, KEY, PUBLIC)},
        {"public": b"q" * 32},
        {"user": "bert"},
        {"offers": [b"another key"]},
        {"offers": []},
        {"offers": [KEY, b"another key"]},
        {"resume": None},
    ],
    ids=str,
)
def test_what_is_no_record_of_ours(changes: dict[str, Any]) -> None:
    assert RECORDS.opened(login(**changes)) is None
