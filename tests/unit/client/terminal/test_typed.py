"""Typed bytes until the host has them, by a clock of the test's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qsh.client.terminal.typed import PROBE_BYTES, Typed
from qsh.errors import RemoteProtocolError
from qsh.wire.terminal import MAX_DATA, Input

NOW = 10.0


class Setup:
    def __init__(self) -> None:
        self.stream: list[Any] = []
        self.datagrams: list[Any] = []
        channel = SimpleNamespace(write=self.stream.append, send_datagram=self._send)
        self.typed = Typed(channel, SimpleNamespace(consumed=7), NOW)  # type: ignore[arg-type]

    def _send(self, message: Any, *, typed: bool = False) -> int:
        self.datagrams.append(message)
        return 40 + len(message.data)

    def type(self, data: bytes) -> None:
        self.typed.log.append(data)
        self.typed.send(NOW)


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_the_stream_has_it_once_and_every_datagram_all_of_it(setup: Setup) -> None:
    setup.type(b"ab")
    setup.type(b"c")
    assert setup.stream == [Input(0, b"ab", 7), Input(2, b"c", 7)]
    assert setup.datagrams == [Input(0, b"ab", 7), Input(0, b"abc", 7)]
    assert setup.typed.acknowledged(2, NOW)
    assert not setup.typed.acknowledged(1, NOW), "that is old"
    setup.type(b"d")
    assert setup.datagrams[-1] == Input(2, b"cd", 7)


def test_a_copy_goes_when_it_is_due_until_all_is_acknowledged(setup: Setup) -> None:
    setup.type(b"a")
    setup.typed.repeat(NOW)
    assert len(setup.datagrams) == 1
    setup.typed.repeat(NOW + 1.0)
    assert setup.datagrams == [Input(0, b"a", 7)] * 2
    setup.typed.acknowledged(1, NOW + 1.0)
    setup.typed.repeat(NOW + 60.0)
    assert len(setup.datagrams) == 2
    assert len(setup.stream) == 1


def test_what_is_too_much_for_a_datagram_goes_on_the_stream_only(setup: Setup) -> None:
    data = bytes(MAX_DATA + 1)
    setup.type(data)
    assert [(each.offset, len(each.data)) for each in setup.stream] == [
        (0, MAX_DATA),
        (MAX_DATA, 1),
    ]
    setup.typed.repeat(NOW + 60.0)
    assert setup.datagrams == []


def test_only_little_goes_with_a_probe(setup: Setup) -> None:
    assert not setup.typed.send_probe(NOW), "there is nothing"
    setup.type(bytes(PROBE_BYTES))
    assert setup.typed.send_probe(NOW)
    setup.type(b"x")
    assert not setup.typed.send_probe(NOW)
    assert [len(each.data) for each in setup.datagrams] == [PROBE_BYTES, PROBE_BYTES, 65]


def test_another_stream_begins_with_what_the_host_lacks(setup: Setup) -> None:
    setup.type(b"abc")
    setup.typed.resume(1)
    setup.typed.send(NOW)
    assert setup.stream[-1] == Input(1, b"bc", 7)
    assert setup.datagrams[-1] == Input(0, b"abc", 7)
    setup.typed.acknowledged(2, NOW)
    with pytest.raises(RemoteProtocolError):
        setup.typed.resume(1)  # the host has lost what it had acknowledged
    with pytest.raises(RemoteProtocolError):
        setup.typed.resume(4)
