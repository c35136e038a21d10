"""docs/protocol.md 6: the first frames of channel and unidirectional streams."""

from __future__ import annotations

import pytest

from qsh.errors import RemoteProtocolError
from qsh.wire import framing
from qsh.wire.channel import AnswerReader, HeaderReader, OpenReader
from qsh.wire.messages import Failed, Hello, HostAuth, Open, Opened, Pty, StderrHeader

OPEN = Open(
    kind="exec",
    command=b"echo \xff",
    pty=Pty(term="xterm", rows=24, cols=80, modes={53: 1}),
    env={"LANG": "C"},
)


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (OpenReader, OPEN),
        (AnswerReader, Opened(stderr=True)),
        (AnswerReader, Failed(code="resources", reason="no")),
        (HeaderReader, StderrHeader(channel=4)),
        (HeaderReader, HostAuth(key=b"k", signature=b"s", certificates=[b"c"], other_keys=[b"o"])),
    ],
)
def test_round_trip_and_rest(reader: type, message: object) -> None:
    data = framing.encode(message) + b"raw bytes"  # type: ignore[arg-type]
    whole = reader()
    assert whole.receive(data) == message
    assert whole.rest == b"raw bytes"
    stepwise, position = reader(), 0
    while True:
        step = data[position : position + stepwise.needed]
        position += len(step)
        if (found := stepwise.receive(step)) is not None:
            break
    assert found == message
    assert stepwise.rest == b""


def test_truncated_is_named() -> None:
    reader = OpenReader()
    assert reader.receive(framing.encode(OPEN)[:5]) is None
    with pytest.raises(RemoteProtocolError) as error:
        reader.receive(b"")
    assert error.value.code == "truncated"


def test_another_message_is_refused() -> None:
    with pytest.raises(RemoteProtocolError) as error:
        OpenReader().receive(framing.encode(Hello(versions=[1])))
    assert error.value.code in ("unknown-message", "bad-message")
