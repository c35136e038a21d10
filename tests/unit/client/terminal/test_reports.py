"""When the host is told what the terminal has taken, by a clock of the test's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qsh.client.terminal.reports import (
    REPORT_BYTES,
    REPORT_FAST_BYTES,
    REPORT_FAST_S,
    REPORT_S,
    SETTLED_REPORT_S,
    Reports,
)
from qsh.wire.terminal import Report


class Setup:
    def __init__(self) -> None:
        self.now = 10.0
        self.output = SimpleNamespace(consumed=0)
        self.stream: list[Any] = []
        self.datagrams: list[Any] = []
        channel = SimpleNamespace(write=self.stream.append, send_datagram=self.datagrams.append)
        self.reports = Reports(channel, self.output, lambda: self.now)  # type: ignore[arg-type]

    def takes(self, size: int, later_s: float = 0.0) -> None:
        self.now += later_s
        self.output.consumed += size
        self.reports.taken(self.now)

    def waits(self, seconds: float) -> None:
        self.now += seconds
        self.reports.send_due(self.now)


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_much_is_reported_on_the_stream_at_once(setup: Setup) -> None:
    setup.takes(REPORT_BYTES - 1, REPORT_FAST_S)
    assert setup.stream == []
    setup.takes(1)
    assert setup.stream == [Report(REPORT_BYTES, 0)]
    assert setup.reports.datagram_s is setup.reports.settled_s is None


def test_not_twice_in_a_moment_unless_very_much_is_unsaid(setup: Setup) -> None:
    setup.takes(REPORT_BYTES)
    assert setup.stream == [], "the last one was just now"
    setup.takes(REPORT_FAST_BYTES - REPORT_BYTES)
    assert setup.stream == [Report(REPORT_FAST_BYTES, 0)]


def test_little_is_reported_in_a_datagram_and_as_it_may_be_lost_on_the_stream(
    setup: Setup,
) -> None:
    setup.takes(10)
    assert setup.reports.datagram_s == setup.now + REPORT_S
    setup.takes(5, REPORT_S / 2)
    setup.waits(REPORT_S)
    assert setup.datagrams == [Report(15, 0)]
    assert setup.stream == []
    setup.waits(SETTLED_REPORT_S)
    assert setup.stream == [Report(15, 0)]
    setup.waits(SETTLED_REPORT_S)
    assert len(setup.datagrams) == len(setup.stream) == 1


def test_what_another_message_has_said_is_not_reported(setup: Setup) -> None:
    setup.takes(10)
    setup.reports.counted()
    setup.waits(1.0)
    assert setup.datagrams == setup.stream == []


def test_output_that_comes_again_asks_for_the_report_again(setup: Setup) -> None:
    setup.takes(10)
    setup.waits(REPORT_S)
    setup.reports.repeated(11, setup.now)
    setup.waits(0.0)
    assert len(setup.datagrams) == 1, "not all of it was reported"
    setup.reports.repeated(10, setup.now)
    setup.waits(0.0)
    assert setup.datagrams == [Report(10, 0)] * 2


def test_a_new_connection_begins_where_the_host_says(setup: Setup) -> None:
    setup.output.consumed = 100
    setup.reports.start(100)
    setup.takes(0)
    assert setup.reports.datagram_s is None
    setup.reports.rtt_us = 7
    setup.takes(1)
    setup.waits(REPORT_S)
    assert setup.datagrams == [Report(101, 7)]
