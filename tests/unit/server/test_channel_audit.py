"""What the log says of channels and forwards."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from qsh.errors import ChannelError
from qsh.server.channel_audit import audit_channel
from qsh.server.log import Log
from qsh.wire.messages import Open, Pty, Target

WHOSE = {"event": "channel", "user": "anna", "address": "192.0.2.1", "port": 4022}
DENIED = ChannelError("forwarding is off", code="not-permitted")


def told(request: Open, refusal: ChannelError | None = None, level: str = "VERBOSE") -> Any:
    read, write = os.pipe()
    audit_channel(Log(level, file=write, form="json"), dict(WHOSE), 4, request, refusal)
    os.close(write)
    with open(read) as file:
        lines = file.read().splitlines()
    return json.loads(lines[0]) if lines else None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Open("shell", pty=Pty("xterm", 24, 80)), "Starting session: shell on a terminal for"),
        (Open("exec", b"id"), "Starting session: command for"),
        (Open("subsystem", b"sftp"), "Starting session: subsystem 'sftp' for"),
        (Open("attach"), "Starting session: attached terminal for"),
    ],
)
def test_a_session(request_: Open, message: str) -> None:
    entry = told(request_)
    assert entry["message"] == f"{message} anna from 192.0.2.1 port 4022 id 4"
    assert (entry["event"], entry["kind"], entry["user"]) == ("channel", request_.kind, "anna")


def test_a_command_is_a_field() -> None:
    assert told(Open("exec", b"rm -r \xff"))["command"] == "rm -r \N{REPLACEMENT CHARACTER}"


def test_a_refusal_is_told_at_the_usual_level() -> None:
    entry = told(Open("exec", b"id"), ChannelError("no", code="not-permitted"), level="INFO")
    assert entry["event"] == "channel-refused"
    assert entry["message"].startswith("Refused session: command for anna")


def test_a_forward() -> None:
    entry = told(Open("connect", target=Target("db", 5432), origin=Target("::1", 1)))
    assert entry["message"] == "Forwarding TCP to host db port 5432 for anna from 192.0.2.1"
    assert entry["origin"] == "host ::1 port 1"


def test_a_unix_socket_and_datagrams() -> None:
    assert told(Open("connect", target=Target(path=b"/run/x")))["target"] == "path /run/x"
    assert "Forwarding UDP" in told(Open("udp", target=Target("dns", 53)))["message"]


def test_a_forward_that_is_denied_has_the_words_of_sshd() -> None:
    entry = told(Open("connect", target=Target("db", 5432)), DENIED, level="INFO")
    assert entry["message"] == (
        "Received request from 192.0.2.1 port 4022 to connect to host db port 5432, but the request was denied."
    )
    assert entry["event"] == "forward-refused"


def test_a_forward_that_fails_is_no_news() -> None:
    refused = ChannelError("Connection refused", code="connect-failed")
    assert told(Open("connect", target=Target("db", 1)), refused, level="INFO") is None
    assert told(Open("connect", target=Target("db", 1)), refused)["event"] == "forward-failed"


def test_what_is_opened_is_told_to_those_who_want_it() -> None:
    assert told(Open("exec", b"id"), level="INFO") is None
