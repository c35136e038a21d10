"""How often the terminal's state is looked at after a key."""

from __future__ import annotations

import itertools

import pytest

from qsh.server.tty_polling import FIRST_S, GROWTH, LAST_S, TYPED_S, TtyPolling


def test_without_keys_nothing_is_looked_at() -> None:
    polling = TtyPolling()
    assert polling.at is None
    assert not polling.due(1e9)


def test_looks_come_at_growing_intervals_and_end() -> None:
    polling = TtyPolling()
    polling.typed(5.0)
    times = []
    while polling.at is not None:
        assert not polling.due(polling.at - 1e-6)
        assert polling.due(polling.at)
        times.append(polling.at)
        polling.looked(polling.at)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times[0] == 5.0 + FIRST_S
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(LAST_S)
    assert 5.0 + TYPED_S <= times[-1] < 5.0 + TYPED_S + LAST_S + 1e-6


def test_a_change_is_looked_at_soon() -> None:
    polling = TtyPolling()
    polling.soon(5.0)
    assert polling.due(5.0 + FIRST_S)


def looks(polling: TtyPolling) -> list[float]:
    times = []
    while polling.at is not None:
        times.append(polling.at)
        polling.looked(polling.at)
    return times


def test_a_change_is_seen_after_twice_its_time_and_looks_are_few() -> None:
    polling = TtyPolling()
    polling.typed(0.0)
    times = looks(polling)
    for before, after in itertools.pairwise(times):
        assert after - before <= max(GROWTH * before, FIRST_S)
    assert len(times) <= 9


def test_keys_that_no_program_sees_yet_need_few_looks() -> None:
    polling = TtyPolling()
    polling.typed(0.0, seen=False)
    assert len(looks(polling)) == round(TYPED_S / LAST_S)


def test_keys_that_no_program_sees_yet_hold_up_no_look() -> None:
    polling = TtyPolling()
    polling.typed(0.0)
    polling.typed(0.005, seen=False)
    assert polling.at == FIRST_S
    for _ in range(4):
        assert polling.at is not None
        polling.looked(polling.at)
    due = polling.at
    assert due is not None
    polling.typed(due - 0.001, seen=False)
    assert polling.at == due


def test_what_has_changed_is_looked_at_again_soon() -> None:
    polling = TtyPolling()
    polling.typed(0.0)
    polling.looked(0.5)
    polling.looked(0.75, changed=True)
    assert polling.at == 0.75 + FIRST_S


def test_looks_that_were_made_meanwhile_are_skipped() -> None:
    for now in (0.0, 0.005, 0.01, 0.2, 0.5, 0.999, 2.0):
        skipped, polling = TtyPolling(), TtyPolling()
        for each in (skipped, polling):
            each.typed(0.0)
        skipped.skip(now)
        while polling.at is not None and polling.due(now):
            polling.looked(polling.at)
        assert skipped.at == polling.at


def test_what_lies_ahead_ends_with_the_last_look() -> None:
    polling = TtyPolling()
    polling.typed(10.0)
    polling.skip(10.1)
    assert polling.at is not None
    first_s, interval_s, last_s, longest_s = polling.ahead(10.1)
    times = [first_s]
    while times[-1] < last_s:
        interval_s = min(interval_s * GROWTH, longest_s)
        times.append(times[-1] + interval_s)
    assert [10.1 + each for each in times] == pytest.approx(looks(polling))
