"""PASS and SKIP, on an emulated link with a clock that the test turns."""

from __future__ import annotations

from collections import deque

import pytest

from qsh.errors import RemoteProtocolError
from qsh.session.flow_control import FlowControl, Mode


class Link:
    """A bottleneck of ``rate`` bytes a second and a path of ``rtt``; the program puts out as much as it may."""

    def __init__(self, flow: FlowControl, rate: float, rtt: float) -> None:
        self.flow, self.rate, self.rtt = flow, rate, rtt
        self.now = 0.0
        self._free_at = 0.0
        self._acks: deque[tuple[float, int]] = deque()
        self.largest = 0
        flow.path(0.0, rtt)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            while self._acks and self._acks[0][0] <= self.now:
                self.flow.acknowledge(self.now, self._acks.popleft()[1])
            while self.flow.mode is Mode.PASS and (room := self.flow.room) > 0:
                size = min(room, 4096)
                self.flow.send(self.now, self.flow.sent + size, size)
                self._free_at = max(self._free_at, self.now) + size / self.rate
                self._acks.append((self._free_at + self.rtt, self.flow.sent))
            self.largest = max(self.largest, self.flow.unconsumed)
            self.flow.blocked(self.now, self.flow.room == 0)
            assert not self.flow.wants_skip(self.now), "the link carries all that is sent"
            self.now += 0.001


@pytest.mark.parametrize(
    ("rate", "rtt"), [(1.25e6, 0.1), (1.25e6, 0.02), (12.5e6, 0.02), (40e3, 0.3)]
)
def test_the_window_finds_the_paths_size(rate: float, rtt: float) -> None:
    flow = FlowControl(0.0, 0)
    link = Link(flow, rate, rtt)
    link.run(4.0 if rtt < 0.2 else 12.0)
    ideal = min(max(rate * (rtt + 0.008), 16 * 1024), 256 * 1024)
    link.largest, consumed = 0, flow.consumed
    link.run(2.0)
    assert ideal * 0.8 <= link.largest <= ideal * 1.25
    if ideal < 256 * 1024:
        assert (flow.consumed - consumed) / 2 >= 0.9 * rate, "and the link is full"


def stalled(exact: bool = False) -> FlowControl:
    """A flow whose client has stopped to show anything at 1.0 s; 100 kB are under way."""
    flow = FlowControl(0.0, 0, exact=exact)
    flow.path(0.0, 0.1)
    flow.send(1.0, 100_000, 100_000)
    return flow


def test_a_client_that_falls_behind_is_skipped() -> None:
    flow = stalled()
    flow.blocked(1.1, True)
    assert not flow.wants_skip(1.39)
    assert flow.deadline(1.1) == pytest.approx(1.4)
    assert flow.wants_skip(1.401)


def test_back_pressure_that_ends_does_not_count() -> None:
    flow = stalled()
    flow.blocked(1.1, True)
    flow.blocked(1.2, False)
    flow.blocked(1.3, True)
    assert not flow.wants_skip(1.5)
    assert flow.wants_skip(1.601)


def test_an_outage_skips_but_not_for_a_few_bytes() -> None:
    assert not stalled().wants_skip(1.9)
    assert stalled().wants_skip(2.0)
    flow = FlowControl(0.0, 0)
    flow.send(1.0, 100, 100)
    assert not flow.wants_skip(60.0)


def test_exact_and_pictures_are_never_skipped() -> None:
    exact = stalled(exact=True)
    exact.blocked(1.1, True)
    exact.interrupt()
    assert not exact.wants_skip(60.0)
    picture = stalled()
    picture.graphics(1.0)
    assert not picture.wants_skip(5.9)
    assert picture.wants_skip(6.0)


def test_a_key_that_stops_skips_when_much_is_under_way() -> None:
    flow = FlowControl(0.0, 0)
    flow.send(0.0, 10_000, 10_000)
    flow.acknowledge(0.1, 10_000)
    flow.send(0.1, 20_000, 10_000)
    flow.interrupt()
    assert not flow.wants_skip(0.11), "a tenth of a second's worth"
    flow.send(0.1, 40_000, 20_000)
    flow.interrupt()
    assert flow.wants_skip(0.11)


def skipping(rtt: float = 0.1) -> FlowControl:
    flow = FlowControl(0.0, 0)
    flow.path(0.0, rtt)
    flow.send(0.0, 50_000, 50_000)
    flow.start_skip(1.0)
    return flow


@pytest.mark.parametrize(("rtt", "pace"), [(0.1, 0.05), (0.001, 0.016), (2.0, 0.25)])
def test_frames_keep_their_pace_and_two_are_under_way(rtt: float, pace: float) -> None:
    flow = skipping(rtt)
    assert flow.frame_due_at() == pytest.approx(1.008)
    flow.framed(1.008, 60_000, 2000)
    assert flow.frame_due_at() is None, "nothing has changed"
    flow.acknowledge(1.009, 50_000)
    flow.produced(1.009, 10)
    assert flow.frame_due_at() == pytest.approx(1.008 + pace)
    flow.framed(1.3, 70_000, 2000)
    flow.produced(1.31, 10)
    assert flow.frame_due_at() is None, "two are not consumed"
    flow.acknowledge(1.4, 60_000)
    assert flow.frame_due_at() is not None


def test_a_frame_that_changes_no_offset_waits_for_no_report() -> None:
    flow = skipping()
    flow.framed(1.008, 60_000, 2000)
    flow.acknowledge(1.2, 60_000)
    for at in (1.3, 1.4, 1.5):
        flow.changed(at)
        flow.framed(at, 60_000, 500)
    flow.changed(1.6)
    assert flow.frame_due_at() is not None


def test_back_to_every_byte_when_the_program_pauses() -> None:
    flow = skipping()
    flow.produced(1.1, 1000)
    flow.framed(1.11, 60_000, 2000)
    flow.acknowledge(1.2, 60_000)
    flow.produced(1.25, 100_000)
    assert not flow.wants_pass(1.26)
    assert flow.wants_pass(1.271)
    flow.start_pass()
    assert flow.mode is Mode.PASS


def test_back_to_every_byte_when_the_program_is_slow() -> None:
    flow = FlowControl(0.0, 0)
    flow.send(0.0, 100_000, 100_000)
    flow.acknowledge(0.1, 100_000)
    flow.start_skip(1.0)
    now, back = 1.0, None
    while now < 3.0 and back is None:
        flow.produced(
            now, 100_000 if now < 1.5 else 500
        )  # every 10 ms: ten times the rate, then a twentieth
        back = now if flow.wants_pass(now) else None
        now += 0.01
    assert back is not None
    assert 1.9 <= back <= 2.2


def test_consumed_from_the_future() -> None:
    flow = FlowControl(0.0, 100)
    with pytest.raises(RemoteProtocolError, match="bad-offset"):
        flow.acknowledge(0.0, 101)
    assert not flow.acknowledge(0.0, 50)
    assert flow.consumed == 100


def test_an_exact_client_gets_its_first_frame_at_once() -> None:
    """However much raw output is under way: what the program says until then would have to be painted."""
    for exact in (True, False):
        flow = FlowControl(0.0, 0, exact=exact)
        for number in range(3):
            flow.send(number * 0.01, 100 * (number + 1), 100)
        flow.start_skip(0.1)
        assert (flow.frame_due_at() is not None) == exact
        assert flow.wants_pass(0.1) == exact
