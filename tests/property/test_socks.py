"""SOCKS: whatever comes, cut anywhere, ends in a target, a wait or RemoteProtocolError, and the cuts make no difference."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.errors import RemoteProtocolError
from qsh.forward.socks import MAX_NAME, Negotiation
from qsh.forward.socks_udp import parse_header

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=MAX_NAME)
ports = st.integers(0, 65535)


def fed(data: bytes, cuts: list[int]) -> tuple[object, ...]:
    """What comes of it: the answers, the target, the rest, the error's text."""
    socks, answer, error = Negotiation(), b"", ""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    try:
        for start, end in pairwise(edges):
            answer += socks.receive(data[start:end])
    except RemoteProtocolError as refused:
        return socks.target, socks.refusal, str(refused)
    return answer, socks.target, socks.rest, error


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=8))
def test_cuts_make_no_difference(data: bytes, cuts: list[int]) -> None:
    assert fed(data, cuts) == fed(data, [])


@given(names, ports, st.binary(max_size=20))
def test_names(name: str, port: int, behind: bytes) -> None:
    host, number = name.encode(), port.to_bytes(2, "big")
    five = b"\x05\x01\x00\x05\x01\x00\x03" + bytes((len(host),)) + host + number
    four = b"\x04\x01" + number + b"\0\0\0\x01user\0" + host + b"\0"
    for request, answer in ((five, b"\x05\x00"), (four, b"")):
        assert fed(request + behind, []) == (answer, (name, port), behind, "")


@given(st.binary(max_size=300))
def test_headers_of_datagrams(data: bytes) -> None:
    try:
        header = parse_header(data)
    except RemoteProtocolError:
        return
    assert header.length <= len(data)
    assert parse_header(data[: header.length] + b"another payload") == header


@given(names, st.integers(1, 65535), st.binary(max_size=20))
def test_names_in_headers(name: str, port: int, payload: bytes) -> None:
    start = b"\0\0\0\x03" + bytes((len(name),)) + name.encode() + port.to_bytes(2, "big")
    assert parse_header(start + payload) == (name, port, len(start))
    for end in range(len(start)):
        with pytest.raises(RemoteProtocolError):
            parse_header(start[:end])
