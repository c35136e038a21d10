"""Forwards as a client of a shared connection says them, and as messages do."""

from __future__ import annotations

import pytest

from qsh.client.forward_requests import described, forward_of, request_of
from qsh.config.forwards import Forward
from qsh.wire.sharing import ForwardRequest

FORWARDS = [
    ("local", Forward(None, 80, "host", 8080), "local forward LOCALHOST:80 -> host:8080"),
    ("local", Forward("::1", 80, connect_path="/s"), "local forward ::1:80 -> /s:-2"),
    ("local", Forward(listen_path="/l", connect_path="/s"), "local forward /l:-2 -> /s:-2"),
    ("dynamic", Forward("*", 1080, "socks"), "dynamic forward *:1080 -> *"),
    ("remote", Forward(None, 0, "host", 22), "remote forward LOCALHOST:0 -> host:22"),
    ("remote", Forward(None, 1080, "socks"), "remote forward LOCALHOST:1080 -> socks:0"),
    ("remote", Forward(listen_path="/l", connect_host="h", connect_port=1), "remote forward /l:-2 -> h:1"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "forward", "text"), FORWARDS)
def test_said_and_understood(kind: str, forward: Forward, text: str) -> None:
    assert forward_of(request_of(kind, forward)) == forward
    assert described(kind, forward, gateway=False) == text


def test_where_everybody_may_connect() -> None:
    forward = Forward(None, 80, "host", 8080)
    assert described("local", forward, gateway=True) == "local forward *:80 -> host:8080"
    assert described("remote", forward, gateway=True) == "remote forward LOCALHOST:80 -> host:8080"


@pytest.mark.parametrize(
    "request_",
    [
        ForwardRequest("local", listen_port=80),
        ForwardRequest("local", listen_port=-1, connect_host="h", connect_port=1),
        ForwardRequest("local", listen_port=80, connect_host="h", connect_port=0),
        ForwardRequest("local", listen_port=80, connect_host="socks"),
        ForwardRequest("dynamic", listen_port=80, connect_host="h", connect_port=1),
        ForwardRequest("dynamic", listen_path=b"/s", connect_host="socks"),
        ForwardRequest("local", listen_path=b"", connect_host="h", connect_port=1),
        ForwardRequest("local", listen_path=b"/a\0b", connect_host="h", connect_port=1),
        ForwardRequest("local", listen_host="\0", connect_host="h", connect_port=1),
    ],
)
def test_what_makes_no_sense(request_: ForwardRequest) -> None:
    assert forward_of(request_) is None
