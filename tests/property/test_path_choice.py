"""Ways of any quality at any time: moves stay few, a look ends, and a way that carries nothing is never chosen."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qsh.client.addresses import Address
from qsh.client.path_choice import PROBES, QUALITY_HOLD_S, SILENCE_HOLD_S, Look, Moves, Way

WAYS = [Way(Address(2, "192.0.2.1"), name) for name in (None, "b", "c")]
LOOK = st.lists(st.floats(0.001, 5.0) | st.none(), min_size=PROBES * 3, max_size=PROBES * 3)
"""For each probe on each way, when its answer comes; None: never."""
GAPS = st.lists(st.tuples(st.floats(0.0, 900.0), st.booleans()), max_size=60)


@given(LOOK, st.floats(0.0, 5.0), st.floats(0.001, 1.0))
def test_a_look(delays: list[float | None], silent_s: float, rtt_s: float) -> None:
    look, moves, now = Look(0.0, WAYS), Moves(), 0.0
    waiting = iter(delays)
    answers: list[tuple[float, Way, int]] = []
    answered: set[Way] = set()
    for _ in range(100_000):
        for way, number in look.due(now):
            delay_s = next(waiting)
            if delay_s is not None:
                answers.append((now + delay_s, way, number))
        for answer in [each for each in answers if each[0] <= now]:
            answers.remove(answer)
            look.answered(answer[1], answer[2], now)
            answered.add(answer[1])
        silence_s = silent_s + now if silent_s else 0.0
        verdict = look.verdict(now, moves, silence_s, rtt_s)
        if verdict is not None:
            assert verdict in answered
            assert verdict != WAYS[0]
            return
        if look.is_over(now):
            return
        soonest = min((each[0] for each in answers), default=float("inf"))
        now = max(now + 1e-6, min(soonest, look.deadline()))
    raise AssertionError("it spins")


@given(GAPS)
def test_moves_are_few_however_often_they_are_wished_for(wishes: list[tuple[float, bool]]) -> None:
    moves, now, moved = Moves(), 0.0, list[tuple[float, bool]]()
    for gap_s, silent in wishes:
        now += gap_s
        if moves.may_move(now, silent=silent):
            moves.moved(now)
            moved.append((now, silent))
    for (before, _), (after, silent) in pairwise(moved):
        least_s = (SILENCE_HOLD_S if silent else QUALITY_HOLD_S)[0]
        assert after - before >= least_s - 1e-6


@given(st.floats(0.1, 30.0))
def test_a_way_that_is_always_better_than_the_other_causes_few_moves(step_s: float) -> None:
    moves, now, moved = Moves(), 0.0, list[float]()
    while now < 7200.0:
        if moves.may_move(now, silent=False):
            moves.moved(now)
            moved.append(now)
        now += step_s
    for start in moved:
        assert sum(1 for at in moved if start <= at < start + 3600.0) <= 14
