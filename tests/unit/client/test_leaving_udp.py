"""When a connection leaves UDP for a stream, and when it looks back."""

from __future__ import annotations

import pytest

from qsh.client.leaving_udp import (
    ASK_RTTS,
    ASK_S,
    DOUBT_S,
    FORGET_S,
    PAUSE_S,
    Arrival,
    Leavings,
)
from qsh.client.mover import Patience

RTT_S = 0.02


def test_nothing_is_waited_for_at_first() -> None:
    arrival = Arrival()
    arrival.figures(1.0, 0, 0, 0)
    assert arrival.due_s(RTT_S) is None


def test_what_is_not_acknowledged_is_asked_about_first() -> None:
    arrival = Arrival()
    arrival.asked(10.0, sent=5, delivered=100)
    arrival.asked(10.5, sent=6, delivered=100)
    assert arrival.due_s(RTT_S) == 10.0 + DOUBT_S
    arrival.figures(11.5, 9, 100, 500)
    assert arrival.ask(11.5)
    assert not arrival.ask(11.6)
    assert arrival.due_s(RTT_S) == 11.5 + ASK_S
    assert arrival.due_s(1.0) == 11.5 + ASK_RTTS


def test_what_arrives_begins_the_wait_anew_or_ends_it() -> None:
    arrival = Arrival()
    arrival.asked(10.0, sent=5, delivered=100)
    arrival.figures(10.5, 9, 200, 50)
    assert arrival.due_s(RTT_S) == 10.5 + DOUBT_S
    arrival.figures(11.0, 9, 250, 0)
    assert arrival.due_s(RTT_S) is None


def test_an_answer_to_the_question_is_enough() -> None:
    arrival = Arrival()
    arrival.asked(10.0, sent=5, delivered=100)
    assert arrival.ask(11.5)
    arrival.figures(11.6, 9, 110, 30)
    assert arrival.due_s(RTT_S) == 11.6 + DOUBT_S
    assert arrival.ask(13.1)


def test_acknowledgements_are_not_waited_for() -> None:
    """They are in flight for the engine, and nobody resends them."""
    arrival = Arrival()
    arrival.figures(10.0, 5, 100, 40)
    arrival.figures(12.0, 6, 100, 80)
    assert arrival.due_s(RTT_S) is None
    arrival.figures(13.0, 6, 100, 80)
    assert arrival.due_s(RTT_S) is None, "nothing was sent since"
    arrival.figures(14.0, 7, 100, 120)
    assert arrival.due_s(RTT_S) == 14.0 + DOUBT_S


def test_attempts_in_vain_become_rare() -> None:
    leavings, now, waits = Leavings(), 1000.0, []
    assert leavings.due_s(now) == now
    for _ in range(6):
        leavings.tried(now, left=False)
        waits.append(leavings.due_s(now) - now)
        now = leavings.due_s(now)
    first_s, most_s = PAUSE_S
    assert waits == [first_s, 2 * first_s, 4 * first_s, 8 * first_s, most_s, most_s]
    leavings.tried(now + FORGET_S + 1, left=False)
    assert leavings.due_s(now) == now + FORGET_S + 1 + first_s


def test_after_a_success_the_next_may_come_at_once() -> None:
    leavings = Leavings()
    leavings.tried(10.0, left=False)
    leavings.tried(20.0, left=True)
    assert leavings.due_s(21.0) == 21.0


@pytest.mark.parametrize(
    ("failures", "look_s"), [(0, 2), (1, 2), (2, 8), (3, 32), (4, 128), (5, 300)]
)
def test_udp_that_works_now_and_then_is_tried_less_often(failures: int, look_s: float) -> None:
    patience = Patience()
    for number in range(failures):
        patience.failed(100.0 + number)
    assert patience.look_s(110.0) == look_s
    assert patience.look_s(1000.0) == 2
