"""docs/protocol.md 2: frames."""

from __future__ import annotations

import msgspec
import pytest

from qsh.errors import LocalProtocolError, RemoteProtocolError
from qsh.wire import framing
from qsh.wire.messages import X11, ClientMessage, Hello, Open, Signal

HELLO = Hello(versions=[1], software="test", features=["exec"])


def frame(value: object) -> bytes:
    payload = msgspec.msgpack.encode(value)
    return len(payload).to_bytes(4, "big") + payload


def decoder(limit: int = framing.LIMIT_BEFORE_AUTH) -> framing.FrameDecoder[object]:
    return framing.FrameDecoder(ClientMessage, limit)


def test_whole() -> None:
    frames = decoder()
    frames.feed(framing.encode(HELLO))
    assert frames.next() == HELLO
    assert frames.next() is None


def test_byte_by_byte_with_trailing_bytes() -> None:
    frames = decoder()
    data = framing.encode(HELLO)
    for byte in data[:-1]:
        frames.feed(bytes([byte]))
        assert frames.next() is None
    frames.feed(data[-1:] + b"raw")
    assert frames.next() == HELLO
    assert frames.rest == b"raw"


def test_needed_never_asks_for_more_than_the_frame() -> None:
    frames, data = decoder(), framing.encode(HELLO)
    position = 0
    while frames.needed:
        step = data[position : position + frames.needed]
        assert step, "asked for bytes behind the frame"
        frames.feed(step)
        position += len(step)
    assert position == len(data)
    assert frames.next() == HELLO


def test_unknown_field_is_ignored() -> None:
    frames = decoder()
    frames.feed(frame({"t": "hello", "versions": [1], "from the future": {"a": [1, 2]}}))
    assert frames.next() == Hello(versions=[1])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame({"t": "no-such"}), "unknown-message"),
        (frame({"versions": [1]}), "bad-message"),
        (frame({"t": "hello", "versions": "x"}), "bad-message"),
        (frame({"t": "hello", "versions": [1], "software": "x" * 257}), "bad-message"),
        (frame([1, 2]), "bad-message"),
        (frame({"t": "signal", "channel": 0, "name": "KILL; rm"}), "bad-message"),
        (b"\0\0\0\1\xc1", "bad-message"),
        (b"\0\0\0\0", "bad-message"),
        (b"\xff\xff\xff\xff", "message-too-large"),
        (b"\0\1\0\1", "message-too-large"),
        (b"\0\0\x20\0" + b"\x91" * 0x2000, "bad-message"),
    ],
)
def test_bad_input_is_named(data: bytes, code: str) -> None:
    frames = decoder()
    frames.feed(data)
    with pytest.raises(RemoteProtocolError) as error:
        frames.next()
    assert error.value.code == code


def test_we_send_nothing_too_large() -> None:
    with pytest.raises(LocalProtocolError):
        framing.encode(Open(kind="exec", command=b"x" * (framing.LIMIT_OPEN + 1)))


def test_signal_names() -> None:
    frames = decoder()
    frames.feed(framing.encode(Signal(channel=4, name="USR1")))
    assert frames.next() == Signal(channel=4, name="USR1")


@pytest.mark.parametrize("end", ["\n", " ", "\0"])
def test_names_that_are_passed_on_hold_nothing_else(end: str) -> None:
    """A line's end in what xauth(1) reads would begin another command."""
    channel = framing.FrameDecoder[object](Open, framing.LIMIT_OPEN)
    channel.feed(framing.encode(Open("shell", x11=X11(f"MIT-MAGIC-COOKIE-1{end}", b"c"))))
    with pytest.raises(RemoteProtocolError, match="bad-message"):
        channel.next()
    control = decoder()
    control.feed(framing.encode(Signal(0, f"HUP{end}")))
    with pytest.raises(RemoteProtocolError, match="bad-message"):
        control.next()
