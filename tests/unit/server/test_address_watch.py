"""When a client that has moved is judged, and when not (docs/protocol.md 5.9)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from qsh.server import address_watch
from qsh.server.address_watch import LOOK_S, PROVEN_S, TURNS, AddressWatch, Whereabouts

HOME, AWAY, THIRD = ("192.0.2.1", 4711), ("198.51.100.1", 4711), ("203.0.113.1", 4711)
STEP_S = 0.25


class Looks:
    """Looks at a client every quarter of a second."""

    def __init__(self) -> None:
        self.found = Whereabouts(HOME)
        self.now = 100.0
        self.judged: list[tuple[str, int]] = []

    def at(self, address: tuple[str, int], seconds: float, rtt_s: float = 0.02) -> None:
        end = self.now + seconds
        while self.now < end:
            if (found := self.found.look(self.now, address, lambda: rtt_s)) is not None:
                self.judged.append(found)
            self.now += STEP_S


@pytest.fixture
def looks() -> Looks:
    looks = Looks()
    looks.at(HOME, 5.0)
    return looks


def test_who_stays_is_not_judged(looks: Looks) -> None:
    looks.at(HOME, 60.0)
    assert looks.judged == []


def test_another_port_is_the_same_address(looks: Looks) -> None:
    looks.at((HOME[0], 1), 60.0)
    assert looks.judged == []


def test_who_has_moved_is_judged_when_the_address_is_proven(looks: Looks) -> None:
    looks.at(AWAY, PROVEN_S - STEP_S)
    assert looks.judged == []
    looks.at(AWAY, 2 * STEP_S)
    assert looks.judged == [AWAY]


def test_a_long_way_takes_longer_to_prove(looks: Looks) -> None:
    looks.at(AWAY, 5.0, rtt_s=1.0)
    assert looks.judged == []
    looks.at(AWAY, 2.0, rtt_s=1.0)
    assert looks.judged == [AWAY]


def test_an_address_that_is_not_proven_is_never_judged(looks: Looks) -> None:
    """The engine goes back: one forged packet now and then costs nobody the connection."""
    for _ in range(10):
        looks.at(AWAY, 1.0)
        looks.at(HOME, PROVEN_S + STEP_S)
    assert looks.judged == []


def test_hopping_about_is_judged(looks: Looks) -> None:
    for address in (AWAY, THIRD, HOME, AWAY, THIRD):
        looks.at(address, PROVEN_S / 4)
    assert looks.judged == [THIRD]


def test_who_is_approved_is_at_home_there(looks: Looks) -> None:
    looks.at(AWAY, PROVEN_S + STEP_S)
    looks.found.approve(AWAY)
    looks.judged.clear()
    looks.at(AWAY, 60.0)
    assert looks.judged == []
    looks.at(HOME, PROVEN_S + STEP_S)
    assert looks.judged == [HOME]


def test_without_an_answer_it_is_asked_again(looks: Looks) -> None:
    looks.at(AWAY, 2 * PROVEN_S + STEP_S)
    assert looks.judged == [AWAY, AWAY]


def test_who_has_not_moved_need_not_be_looked_at(looks: Looks) -> None:
    assert looks.found.still()


def test_time_before_a_move_does_not_count_as_away(looks: Looks) -> None:
    for _ in range(100):
        looks.now += STEP_S
        assert looks.found.still()
    looks.now += STEP_S
    looks.at(AWAY, PROVEN_S - STEP_S)
    assert looks.judged == []
    looks.at(AWAY, 2 * STEP_S)
    assert looks.judged == [AWAY]


def test_who_was_never_seen_at_home_is_looked_at() -> None:
    assert not Whereabouts(HOME).still()


def test_who_is_away_is_looked_at(looks: Looks) -> None:
    looks.at(AWAY, STEP_S)
    assert not looks.found.still()


def test_who_was_away_is_looked_at_until_that_is_forgotten(looks: Looks) -> None:
    looks.at(AWAY, 1.0)
    looks.at(HOME, PROVEN_S / 2)
    assert not looks.found.still()
    looks.at(HOME, PROVEN_S)
    assert looks.found.still()


def test_who_was_approved_elsewhere_is_looked_at_once(looks: Looks) -> None:
    looks.at(AWAY, PROVEN_S + STEP_S)
    looks.found.approve(AWAY)
    assert not looks.found.still()
    looks.at(AWAY, STEP_S)
    assert looks.found.still()


class Clock:
    """A loop's timers, by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.due: list[object] = []
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)
        monkeypatch.setattr(address_watch, "monotonic_s", lambda: self.now)

    def call_later(self, seconds: float, call: object) -> object:
        assert seconds == LOOK_S
        self.due.append(call)
        return call

    def ticks(self, number: int) -> None:
        for _ in range(number):
            self.now += LOOK_S
            for call in [self.due.pop() for _ in range(len(self.due))]:
                assert callable(call)
                call()


def test_who_does_nothing_is_looked_at_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch, looked = Clock(monkeypatch), AddressWatch(), Counter[str]()

    def calm(now: float) -> bool:
        looked["calm"] += 1
        return False

    def busy(now: float) -> bool:
        looked["busy"] += 1
        return True

    watch.add(calm)
    watch.add(busy)
    clock.ticks(1)
    looked.clear()
    clock.ticks(5 * TURNS)
    assert looked == {"calm": 5, "busy": 5 * TURNS}


def test_who_begins_to_do_something_is_looked_at_often_until_it_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, watch, looked, does = Clock(monkeypatch), AddressWatch(), list[float](), [False]

    def look(now: float) -> bool:
        looked.append(now)
        return does[0]

    watch.add(look)
    clock.ticks(1)
    does[0] = True
    clock.ticks(TURNS)
    looked.clear()
    clock.ticks(TURNS)
    assert len(looked) == TURNS
    does[0] = False
    clock.ticks(1)
    looked.clear()
    clock.ticks(2 * TURNS)
    assert len(looked) == 2


def test_who_is_added_again_is_looked_at_next_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch, looked = Clock(monkeypatch), AddressWatch(), list[float]()

    def look(now: float) -> bool:
        looked.append(now)
        return False

    watch.add(look)
    clock.ticks(2)
    looked.clear()
    watch.add(look)
    clock.ticks(1)
    assert looked
    looked.clear()
    clock.ticks(4 * TURNS)
    assert len(looked) == 4


def test_nobody_is_looked_at_who_is_gone_and_the_timer_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, watch = Clock(monkeypatch), AddressWatch()

    def calm(now: float) -> bool:
        raise AssertionError

    def leaving(now: float) -> bool:
        watch.discard(calm)
        watch.discard(leaving)
        return True

    watch.add(leaving)
    watch.add(calm)
    clock.ticks(1)
    assert clock.due == []
