"""How often the terminal's state is looked at after a key."""

from __future__ import annotations

import itertools

import pytest

from qsh.server.tty_polling import FIRST_S, LAST_S, TYPED_S, TtyPolling


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
