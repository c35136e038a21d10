"""The schedule of copies, by a clock that the test turns."""

from __future__ import annotations

import pytest

from qsh.session.repetition import Repetition


def copies(repetition: Repetition, until: float, size: int = 100) -> list[float]:
    """When copies go, if nothing is acknowledged."""
    times: list[float] = []
    while (deadline := repetition.deadline) is not None and deadline <= until:
        assert repetition.due(deadline)
        repetition.repeated(deadline, size)
        times.append(round(deadline, 4))
    return times


def test_nothing_is_due_before_something_is_sent() -> None:
    assert Repetition(5.0).deadline is None
    assert not Repetition(5.0).due(99.0)


def test_the_intervals_grow_to_their_caps() -> None:
    repetition = Repetition(0.0)
    repetition.rate(1e9)
    repetition.rtt(0.1)
    repetition.sent(0.0, 100)
    times = copies(repetition, 10.0)
    gaps = [round(b - a, 3) for a, b in zip([0.0, *times], times, strict=False)]
    assert gaps[:2] == pytest.approx([0.025, 0.0375], abs=0.001)
    assert max(gap for gap, at in zip(gaps, times, strict=True) if at < 1.0) == 0.1
    assert gaps[-1] == 1.0
    assert gaps == sorted(gaps)


def test_a_lossy_path_gets_an_early_copy() -> None:
    repetition = Repetition(0.0)
    repetition.rtt(0.1)
    repetition.loss(6_000)
    repetition.sent(0.0, 100)
    assert copies(repetition, 0.04) == [0.008, 0.025]
    repetition.loss(4_000)
    repetition.sent(1.0, 100)
    assert copies(repetition, 1.03) == [1.025]


def test_a_long_path_waits_no_longer_than_30_ms() -> None:
    repetition = Repetition(0.0)
    repetition.rtt(2.0)
    repetition.sent(0.0, 100)
    assert repetition.deadline == 0.03


def test_acknowledged_is_quiet_and_new_things_start_anew() -> None:
    repetition = Repetition(0.0)
    repetition.rtt(0.1)
    repetition.sent(0.0, 100)
    copies(repetition, 0.2)
    repetition.acknowledged(0.2)
    assert repetition.deadline is None
    repetition.repeated(0.2, 100)
    assert repetition.deadline is None
    repetition.sent(0.3, 100)
    assert repetition.deadline == 0.325


def test_the_budget_holds_and_grows_with_the_rate() -> None:
    for rate, allowed in ((0.0, 4_000), (100_000.0, 10_000)):
        repetition = Repetition(0.0)
        repetition.rate(rate)
        repetition.rtt(0.02)
        spent, now = 0, 0.0
        while now < 10.0:
            repetition.sent(now, 1000)  # a key every 20 ms, with a kilobyte unacknowledged
            spent += 1000 * len(copies(repetition, now + 0.02, 1000))
            now += 0.02
        assert 0.5 * allowed * 10 <= spent <= allowed * 10.5 + 2000


def test_after_an_interruption_what_is_left_goes_at_once() -> None:
    repetition = Repetition(0.0)
    repetition.hasten(1.0)
    assert repetition.deadline is None
    repetition.rtt(0.1)
    repetition.sent(0.0, 10)
    copies(repetition, 20.0, 10)
    repetition.hasten(20.1)
    assert copies(repetition, 20.2, 10)[:2] == [20.1, 20.1375]
