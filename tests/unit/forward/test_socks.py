"""SOCKS by its bytes: what is asked for, what is answered, however the bytes are cut."""

from __future__ import annotations

import pytest

from qsh.errors import RemoteProtocolError
from qsh.forward.socks import Negotiation

HELLO = b"\x05\x01\x00"
NAME = b"\x05\x01\x00\x03\x09localhost\x00\x50"
REQUESTS = [
    (HELLO + NAME, b"\x05\x00", ("localhost", 80)),
    (b"\x05\x02\x02\x00" + NAME, b"\x05\x00", ("localhost", 80)),
    (HELLO + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x1f\x90", b"\x05\x00", ("127.0.0.1", 8080)),
    (HELLO + b"\x05\x01\x00\x04" + bytes(15) + b"\x01\xff\xff", b"\x05\x00", ("::1", 65535)),
    (b"\x04\x01\x00\x50\x7f\x00\x00\x01anna\x00", b"", ("127.0.0.1", 80)),
    (b"\x04\x01\x00\x50\x00\x00\x00\x00\x00", b"", ("0.0.0.0", 80)),
    (b"\x04\x01\x00\x50\x00\x00\x00\x01anna\x00localhost\x00", b"", ("localhost", 80)),
    (HELLO + b"\x05\x01\x00\x03\x0bh\xc3\xb6he.examp\x01\xbb", b"\x05\x00", ("höhe.examp", 443)),
]
MALFORMED = [
    (b"GET / HTTP/1.0\r\n", b""),
    (b"\x06", b""),
    (b"\x05\x01\x02", b"\x05\xff"),
    (b"\x05\x00\x00", None),
    (HELLO + b"\x04\x01\x00\x01", b"\x05\x01"),
    (HELLO + b"\x05\x02\x00\x01", b"\x05\x07"),
    (HELLO + b"\x05\x03\x00\x01", b"\x05\x07"),
    (HELLO + b"\x05\x01\x00\x02", b"\x05\x08"),
    (HELLO + b"\x05\x01\x00\x03\x00", b"\x05\x01"),
    (HELLO + b"\x05\x01\x00\x03\x02a\x00\x00\x50", b"\x05\x01"),
    (HELLO + b"\x05\x01\x00\x03\x03a b\x00\x50", b"\x05\x01"),
    (HELLO + b"\x05\x01\x00\x03\x02\xff\xfe\x00\x50", b"\x05\x01"),
    (b"\x04\x02\x00\x50\x7f\x00\x00\x01\x00", b"\x00\x5b"),
    (b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00", b"\x00\x5b"),
    (b"\x04\x01\x00\x50\x00\x00\x00\x01" + b"x" * 300, b"\x00\x5b"),
    (b"\x04\x01\x00\x50\x00\x00\x00\x01\x00" + b"x" * 300, b"\x00\x5b"),
]


@pytest.mark.parametrize(("data", "answer", "target"), REQUESTS)
def test_requests(data: bytes, answer: bytes, target: tuple[str, int]) -> None:
    whole = Negotiation()
    assert whole.receive(data + b"behind") == answer
    assert (whole.target, whole.rest, whole.needed) == (target, b"behind", 0)
    single = Negotiation()
    assert b"".join(single.receive(bytes((byte,))) for byte in data) == answer
    assert (single.target, single.rest) == (target, b"")


@pytest.mark.parametrize(("data", "answer", "target"), REQUESTS)
def test_who_reads_what_is_needed_reads_no_data(
    data: bytes, answer: bytes, target: tuple[str, int]
) -> None:
    socks, stream, answered = Negotiation(), data + b"behind", b""
    while socks.needed:
        piece, stream = stream[: socks.needed], stream[socks.needed :]
        answered += socks.receive(piece)
    assert (answered, stream, socks.target) == (answer, b"behind", target)


@pytest.mark.parametrize(("data", "refusal"), MALFORMED)
def test_malformed(data: bytes, refusal: bytes | None) -> None:
    socks = Negotiation()
    with pytest.raises(RemoteProtocolError) as error:
        list(map(socks.receive, (data, b"")))  # at the end at the latest
    assert error.value.code == "bad-socks"
    assert socks.target is None
    if refusal is not None:
        assert socks.refusal[: len(refusal)] == refusal
        assert bool(socks.refusal) == bool(refusal)


@pytest.mark.parametrize(
    ("code", "detail", "reply"),
    [
        ("not-permitted", "", 2),
        ("connect-failed", "ENETUNREACH", 3),
        ("connect-failed", "EHOSTUNREACH", 4),
        ("connect-failed", "EAI_NONAME", 4),
        ("connect-failed", "ECONNREFUSED", 5),
        ("connect-failed", "EPERM", 1),
        ("resources", "", 1),
    ],
)
def test_answers(code: str, detail: str, reply: int) -> None:
    five, four = Negotiation(), Negotiation()
    five.receive(HELLO)
    four.receive(b"\x04")
    assert five.refused(code, detail) == bytes((5, reply, 0, 1)) + bytes(6)
    assert four.refused(code, detail) == b"\x00\x5b" + bytes(6)
    assert five.granted() == b"\x05\x00\x00\x01" + bytes(6)
    assert four.granted() == b"\x00\x5a" + bytes(6)
