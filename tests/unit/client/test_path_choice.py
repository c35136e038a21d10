"""Which way is better, by a clock that the test turns."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from qsh.client.addresses import Address
from qsh.client.path_choice import PROBES, Look, Moves, Way

HERE, THERE, ELSEWHERE = (Way(Address(2, "192.0.2.1"), name) for name in (None, "b", "c"))
STEP_S = 0.01


class Path(NamedTuple):
    rtt_s: float
    loss: float = 0.0


def outcome(
    paths: dict[Way, Path],
    *,
    silent_s: float = 0.0,
    moves: Moves | None = None,
    start: float = 0.0,
    home: Way | None = None,
    seed: int = 1,
) -> tuple[Way | None, float]:
    """The verdict, and when. ``silent_s``: for how long the connection has been, at the begin; 0: it is not."""
    chance, now = random.Random(seed), start
    look, answers = Look(start, list(paths), home), list[tuple[float, Way, int]]()
    moves = moves or Moves()
    while True:
        for way, number in look.due(now):
            if chance.random() >= paths[way].loss:
                answers.append((now + paths[way].rtt_s, way, number))
        for answer in [each for each in answers if each[0] <= now]:
            answers.remove(answer)
            look.answered(*answer[1:], now)
        silence_s = silent_s + now - start if silent_s else 0.0
        verdict = look.verdict(now, moves, silence_s, paths[next(iter(paths))].rtt_s)
        if verdict is not None or look.is_over(now):
            return verdict, now - start
        assert look.deadline() > now - STEP_S, "what is due is done"
        now += STEP_S


@pytest.mark.parametrize(
    ("here", "there", "moves"),
    [
        (Path(0.1), Path(0.1), False),
        (Path(0.1), Path(0.08), False),
        (Path(0.6), Path(0.1), True),
        (Path(0.1), Path(0.6), False),
        (Path(0.03), Path(0.01), False),
        (Path(0.1, 0.5), Path(0.1), True),
        (Path(0.1, 0.5), Path(0.1, 0.5), False),
        (Path(0.1), Path(0.02, 0.9), False),
        (Path(0.1, 1.0), Path(0.5), True),
        (Path(0.1, 1.0), Path(0.1, 1.0), False),
    ],
)
def test_which_is_better(here: Path, there: Path, moves: bool) -> None:
    expected = THERE if moves else None
    assert outcome({HERE: here, THERE: there})[0] == expected


def test_the_best_of_three() -> None:
    assert outcome({HERE: Path(0.9), THERE: Path(0.3), ELSEWHERE: Path(0.1)})[0] == ELSEWHERE


def test_in_silence_the_first_that_works_is_taken_soon() -> None:
    way, after_s = outcome({HERE: Path(0.05, 1.0), THERE: Path(0.05)}, silent_s=0.3)
    assert way == THERE
    assert after_s < 0.6


def test_a_server_that_is_busy_is_not_left() -> None:
    """The connection hears nothing, but the way works."""
    assert outcome({HERE: Path(0.05), THERE: Path(0.05)}, silent_s=0.9)[0] is None


def test_nothing_works_anywhere() -> None:
    way, after_s = outcome({HERE: Path(0.1, 1.0), THERE: Path(0.1, 1.0)}, silent_s=0.3)
    assert way is None
    assert after_s < 3.0


def test_what_the_system_prefers_is_taken_again_when_it_is_as_good() -> None:
    home = THERE
    assert outcome({HERE: Path(0.1), home: Path(0.11)}, home=home)[0] == home
    assert outcome({HERE: Path(0.1), home: Path(0.3)}, home=home)[0] is None
    assert outcome({HERE: Path(0.1), home: Path(0.05, 0.5)}, home=home)[0] is None


def test_an_answer_counts_once_and_one_that_was_not_asked_for_never() -> None:
    look = Look(0.0, [HERE, THERE])
    assert look.due(0.0) == [(HERE, 0), (THERE, 0)]
    look.answered(HERE, 0, 0.1)
    look.answered(HERE, 0, 0.9)
    look.answered(THERE, 7, 0.1)
    assert look.rtt_s(HERE) == pytest.approx(0.1)
    assert look.rtt_s(THERE) == float("inf")


def test_probes_have_an_end() -> None:
    look, now, sent = Look(0.0, [HERE, THERE]), 0.0, 0
    while now < 100.0:
        sent += len(look.due(now))
        now += STEP_S
    assert sent == 2 * PROBES
    assert look.is_over(now)


def test_each_move_makes_the_next_one_wait_longer() -> None:
    moves = Moves()
    moves.moved(0.0)
    assert not moves.may_move(9.0, silent=False)
    assert moves.may_move(10.0, silent=False)
    assert moves.may_move(1.0, silent=True)
    moves.moved(10.0)
    assert not moves.may_move(29.0, silent=False)
    assert moves.may_move(30.0, silent=False)
    assert moves.may_move(5000.0, silent=False)


def test_looks_in_vain_grow_rarer_until_a_move() -> None:
    moves = Moves()
    moves.looked_in_vain(0.0, silent=False)
    assert not moves.may_look(4.0, silent=False)
    assert moves.may_look(5.0, silent=False)
    assert moves.may_look(0.0, silent=True), "silence has pauses of its own"
    moves.looked_in_vain(5.0, silent=False)
    assert not moves.may_look(14.0, silent=False)
    assert moves.may_look(15.0, silent=False)
    moves.moved(15.0)
    assert moves.may_look(25.0, silent=False)


def test_the_preferred_way_is_looked_at_after_a_minute_and_then_more_seldom() -> None:
    moves = Moves()
    moves.moved(0.0)
    assert not moves.may_look_home(59.0)
    assert moves.may_look_home(60.0)
    moves.looked_in_vain(60.0, silent=False, home=True)
    assert not moves.may_look_home(179.0)
    assert moves.may_look_home(180.0)
