"""When a client that is not answered takes a fresh port, by a clock that the test turns."""

from __future__ import annotations

import pytest

from qsh.session.rebinding import Rebinding


def moves(rebinding: Rebinding, start: float, until: float) -> list[float]:
    """When it moves, if it asks twice a second and hears nothing."""
    found: list[float] = []
    now, sent = start, 0
    while now < until:
        sent += 1
        if rebinding.look(now, sent, 0):
            found.append(now)
        now += 0.5
    return found


def test_an_idle_connection_stays() -> None:
    rebinding = Rebinding(0.0)
    rebinding.look(0.0, 10, 10)
    for second in range(1, 1000):
        assert not rebinding.look(float(second), 12, 10)  # acknowledgements of what came last
        assert not rebinding.silent


def test_what_is_not_answered_is_waited_for_since_it_was_asked() -> None:
    rebinding = Rebinding(0.0)
    rebinding.look(0.0, 10, 10)
    rebinding.look(5.0, 13, 10)
    rebinding.look(6.0, 14, 10)
    assert rebinding.unanswered_s(7.0, 10) == 2.0
    assert rebinding.unanswered_s(7.0, 11) == 0.0
    rebinding.look(8.0, 14, 11)
    assert rebinding.unanswered_s(9.0, 11) == 0.0


def test_one_that_is_answered_stays() -> None:
    rebinding = Rebinding(0.0)
    for second in range(1000):
        assert not rebinding.look(float(second), 50 * second, second)


def test_fresh_ports_come_ever_less_often() -> None:
    found = moves(Rebinding(0.0), 0.0, 400.0)
    assert found == [4.0, 11.0, 31.0, 91.0, 151.0, 211.0, 271.0, 331.0, 391.0]


def test_a_word_begins_the_schedule_anew() -> None:
    rebinding = Rebinding(0.0)
    assert moves(rebinding, 0.0, 5.0) == [4.0]
    assert rebinding.silent
    assert not rebinding.look(5.0, 100, 1)
    assert not rebinding.silent
    rebinding.look(5.5, 103, 1)
    assert not rebinding.look(8.0, 110, 1)
    assert rebinding.look(8.5, 111, 1)


@pytest.mark.parametrize(("quiet_s", "pause_s"), [(5.0, 1.0), (60.0, 10.0)])
def test_looks_are_rare_while_nothing_happens(quiet_s: float, pause_s: float) -> None:
    rebinding = Rebinding(0.0)
    rebinding.look(1.0, 5, 5)
    assert rebinding.next_s(1.0 + quiet_s) == pause_s


def test_another_way_is_tried_sooner() -> None:
    rebinding = Rebinding(0.0)
    rebinding.look(0.0, 3, 0)
    assert not rebinding.look(0.9, 4, 0, other_way=True)
    assert rebinding.look(1.0, 5, 0, other_way=True)
    assert not rebinding.look(2.0, 6, 0, other_way=True)
    assert rebinding.look(10.0, 7, 0, other_way=True)
