"""MessagePack by hand says and hears what msgspec does."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.errors import RemoteProtocolError
from qsh.wire import framing, sharing
from qsh.wire.messages import Open, Target
from qsh.wire.plain import LIMIT, FrameReader, Told, frame
from qsh.wire.sharing import (
    Answered,
    Attend,
    Exited,
    HangUp,
    Refused,
    SessionOpened,
    UseSsh,
    Welcome,
)

TEXT = st.text(max_size=300)


def heard(data: bytes) -> Told:
    reader = FrameReader()
    for at in range(len(data) - 1):
        reader.feed(data[at : at + 1])
        assert reader.next() is None
    reader.feed(data[-1:])
    message = reader.next()
    assert message is not None
    assert reader.next() is None
    return message


def understood(data: bytes) -> object:
    decoder: framing.FrameDecoder[object] = framing.FrameDecoder(sharing.Request, LIMIT)
    decoder.feed(data)
    return decoder.next()


@given(
    st.binary(max_size=70_000),
    st.dictionaries(TEXT, TEXT, max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_a_session_is_understood(
    command: bytes, env: dict[str, str], agent: bool, x11: bool
) -> None:
    fields = {"t": "open", "kind": "exec", "command": command, "env": env, "agent": agent}
    request = understood(frame({"t": "session", "open": fields, "x11": x11}))
    assert request == sharing.SessionRequest(Open("exec", command, env=env, agent=agent), x11=x11)


def test_other_requests_are_understood() -> None:
    target = frame({"t": "stdio", "target": {"host": "localhost", "port": 65535}})
    assert understood(target) == sharing.StdioRequest(Target("localhost", 65535))
    path = frame({"t": "stdio", "target": {"path": b"/a"}})
    assert understood(path) == sharing.StdioRequest(Target(path=b"/a"))
    assert understood(frame({"t": "attend"})) == Attend()
    assert understood(frame({"t": "hangup"})) == HangUp()
    assert understood(frame({"t": "ask", "what": "exit"})) == sharing.Ask("exit")


@given(TEXT, TEXT, st.integers(0, 255), st.integers(1, 2**31), st.lists(TEXT, max_size=16))
def test_a_master_is_heard(one: str, other: str, status: int, pid: int, notices: list[str]) -> None:
    told = heard(framing.encode(Welcome(1, pid)))
    assert (told.t, told.version, told.pid) == ("welcome", 1, pid)
    assert heard(framing.encode(SessionOpened(tuple(notices)))).notices == notices
    told = heard(framing.encode(Refused(one[:256], other)))
    assert (told.code, told.reason) == (one[:256], other)
    told = heard(framing.encode(Exited(status)))
    assert (told.status, told.signal, told.error) == (status, None, "")
    told = heard(framing.encode(Exited(None, one[:256], other)))
    assert (told.status, told.signal, told.error) == (None, one[:256] if one else "", other)
    told = heard(framing.encode(Answered(one, status)))
    assert (told.text, told.port) == (one, status)
    assert heard(framing.encode(UseSsh(one))).line == one


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"t": "nonsense"}, "unknown-message"),
        ({}, "unknown-message"),
        ({"t": ["opened"]}, "unknown-message"),
        ([], "bad-message"),
        ({"t": "exited", "status": 256}, "bad-message"),
        ({"t": "exited", "status": -1}, "bad-message"),
        ({"t": "exited", "status": True}, "bad-message"),
        ({"t": "exited", "status": None}, "bad-message"),
        ({"t": "exited", "error": b"x"}, "bad-message"),
        ({"t": "opened", "notices": [1]}, "bad-message"),
        ({"t": "opened", "notices": "text"}, "bad-message"),
        ({"t": "welcome", 1: 2}, "bad-message"),
        ({"t": "welcome", "x": 1.5}, "bad-message"),
        ({"t": "welcome", "x": [[[[[[]]]]]]}, "bad-message"),
    ],
)
def test_nonsense_is_refused(value: object, code: str) -> None:
    payload = msgspec.msgpack.encode(value)
    reader = FrameReader()
    reader.feed(len(payload).to_bytes(4, "big") + payload)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.next()
    assert caught.value.code == code


def test_too_large() -> None:
    reader = FrameReader()
    reader.feed((LIMIT + 1).to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError, match="message-too-large"):
        reader.next()


@given(st.binary(max_size=100))
def test_anything_else_is_refused_or_waited_for(payload: bytes) -> None:
    reader = FrameReader()
    reader.feed(len(payload).to_bytes(4, "big") + payload)
    with pytest.raises(RemoteProtocolError):
        assert reader.next() is None
