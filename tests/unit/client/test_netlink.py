"""Messages of rtnetlink, as the kernel writes them and damaged."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.client.netlink import DefaultRoute, default_routes, is_news, routes_request

NEWLINK, NEWADDR, DELADDR, NEWNEIGH, NEWROUTE, DELROUTE, DONE = 16, 20, 21, 28, 24, 25, 3


def message(kind: int, body: bytes = bytes(8)) -> bytes:
    data = struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body
    return data + bytes(-len(data) % 4)


def route(
    kind: int = NEWROUTE, *, bits: int = 0, type_: int = 1, flags: int = 0, **numbers: int
) -> bytes:
    attributes = {"interface": 4, "priority": 6}
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, bits, 0, 0, 254, 3, 0, type_, flags)
    body += struct.pack("=HH4s", 8, 5, bytes([10, 0, 0, 1]))  # the gateway
    for name, number in numbers.items():
        body += struct.pack("=HHI", 8, attributes[name], number)
    return message(kind, body)


@pytest.mark.parametrize("kind", [NEWLINK, NEWADDR, DELADDR])
def test_what_changes_a_way_is_news(kind: int) -> None:
    assert is_news(message(kind))
    assert is_news(message(NEWNEIGH) + message(kind))


def test_routes_are_news_but_for_cached_ones() -> None:
    assert is_news(route())
    assert is_news(route(DELROUTE, bits=24))
    assert not is_news(route(flags=0x200))


@pytest.mark.parametrize("data", [b"", message(NEWNEIGH), message(DONE), message(NEWROUTE, b"12")])
def test_the_rest_is_none(data: bytes) -> None:
    assert not is_news(data)


def test_default_routes_are_found_in_an_answer() -> None:
    answer = route(interface=3, priority=600) + route(bits=24, interface=3) + route(interface=2)
    answer += route(type_=7, interface=5)
    expected = [
        DefaultRoute(socket.AF_INET, 3, 600),
        DefaultRoute(socket.AF_INET, 2, 0),
    ]
    assert default_routes(answer) == (expected, False)
    assert default_routes(message(DONE)) == ([], True)
    assert default_routes(message(2)) == ([], True)


def test_the_question_is_one_whole_message() -> None:
    size, kind, flags, *_ = struct.unpack_from("=IHHII", routes_request(socket.AF_INET6))
    assert (size, kind, flags) == (len(routes_request(socket.AF_INET6)), 26, 0x301)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda body: message(NEWROUTE, body)))
def test_damaged_messages_raise_nothing(data: bytes) -> None:
    is_news(data)
    default_routes(data)


@given(st.integers(0, 100))
def test_what_is_cut_off_is_not_read(size: int) -> None:
    whole = route(interface=3)
    assert is_news(whole[:size]) == (size >= len(whole))
