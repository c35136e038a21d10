"""When a window's new size is applied."""

from __future__ import annotations

from qsh.server.resize_pace import HURRY_MAX, HURRY_S, PACE_S, WAIT_S, ResizePace
from qsh.wire.terminal import Resized


def size(rows: int, offset: int = 0) -> Resized:
    return Resized(offset, rows, 80)


def test_without_a_wish_nothing_is_due() -> None:
    pace = ResizePace(0.0)
    assert pace.due(1e9, 0) is None
    assert pace.before_typed(1e9, 0) is None
    assert pace.deadline(0) is None


def test_it_waits_for_the_keys_before_it_and_not_for_ever() -> None:
    pace = ResizePace(0.0)
    pace.ask(1.0, size(30, 5))
    assert pace.due(1.0, 4) is None
    assert pace.deadline(4) == 1.0 + WAIT_S
    assert pace.due(1.0, 5) == size(30, 5)
    assert pace.due(1.0, 5) is None
    pace.ask(2.0, size(31, 9))
    pace.ask(2.4, size(32, 9))  # the newest counts, from the first one's time on
    assert pace.due(2.0 + WAIT_S, 5) == size(32, 9)


def test_a_storm_is_paced() -> None:
    pace = ResizePace(0.0)
    pace.ask(1.0, size(30))
    assert pace.due(1.0, 0) == size(30)
    pace.ask(1.001, size(31))
    assert pace.due(1.001, 0) is None
    assert pace.deadline(0) == 1.0 + PACE_S
    assert pace.due(1.0 + PACE_S, 0) == size(31)


def test_keys_behind_a_size_do_not_wait_for_its_pace() -> None:
    pace = ResizePace(0.0)
    for number in range(HURRY_MAX):
        pace.ask(1.0, size(number + 1))
        assert pace.before_typed(1.0, 0) == size(number + 1)
    pace.ask(1.0, size(99))
    assert pace.before_typed(1.0, 0) is None
    assert pace.before_typed(1.0 + HURRY_S, 0) == size(99)


def test_keys_behind_a_size_that_waits_for_others_do_not_bring_it() -> None:
    pace = ResizePace(0.0)
    pace.ask(1.0, size(30, 5))
    assert pace.before_typed(1.0, 4) is None
    assert pace.due(1.0, 5) == size(30, 5)
