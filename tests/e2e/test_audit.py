"""Logins, channels and forwards of a real qshd, as its log tells them to programs (QshLogFormat json)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.live_server import LiveServer
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = "QshLogFormat json\nLogLevel VERBOSE\nPermitOpen 127.0.0.1:1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), SETTINGS)
    yield server
    server.stop()


def events(server: LiveServer, name: str) -> list[Any]:
    found = [json.loads(line) for line in server.log if line.startswith("{")]
    return [each for each in found if each.get("event") == name]


def expect(server: LiveServer, name: str, **fields: object) -> Any:
    """The newest event of that name once there is one with these fields."""

    def there() -> list[Any]:
        return [each for each in events(server, name) if fields.items() <= each.items()]

    wait_until(lambda: bool(there()), f"{name} {fields}")
    return there()[-1]


def test_a_session_from_login_to_end(server: LiveServer) -> None:
    assert server.run("echo", "hello").returncode == 0
    login = expect(server, "login-accepted", user=server.user, address="127.0.0.1")
    assert login["method"] == "publickey"
    assert login["key"] == f"ED25519 {server.user_key.fingerprint()}"
    expect(server, "channel", kind="exec", command="echo hello", port=login["port"])
    expect(server, "disconnected", port=login["port"])
    expect(server, "session-ended", session=login["session"])


def test_a_stranger(server: LiveServer) -> None:
    server.run("true", options=("-l", "nobody-here"))
    assert expect(server, "login-failed", user="nobody-here")["reason"]


def test_a_forward_that_is_denied(server: LiveServer) -> None:
    done = server.run(options=("-W", "127.0.0.1:2"))
    assert done.returncode == 255
    denied = expect(server, "forward-refused", target="host 127.0.0.1 port 2")
    assert denied["message"].endswith("but the request was denied.")


def test_a_forward_that_fails_is_told_with_its_reason(server: LiveServer) -> None:
    server.run(options=("-W", "127.0.0.1:1"))
    assert expect(server, "forward-failed", target="host 127.0.0.1 port 1")["reason"]


def test_every_line_is_an_object(server: LiveServer) -> None:
    assert server.log
    for line in server.log:
        assert {"time", "level", "process", "pid", "message"} <= json.loads(line).keys()
