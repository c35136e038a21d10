"""When a client that has moved is judged, and when not (docs/protocol.md 5.9)."""

from __future__ import annotations

import pytest

from qsh.server.address_watch import PROVEN_S, Whereabouts

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
    assert looks.found.still(looks.now)


def test_time_before_a_move_does_not_count_as_away(looks: Looks) -> None:
    for _ in range(100):
        looks.now += STEP_S
        assert looks.found.still(looks.now)
    looks.now += STEP_S
    looks.at(AWAY, PROVEN_S - STEP_S)
    assert looks.judged == []
    looks.at(AWAY, 2 * STEP_S)
    assert looks.judged == [AWAY]


def test_who_was_never_seen_at_home_is_looked_at() -> None:
    assert not Whereabouts(HOME).still(100.0)


def test_who_is_away_is_looked_at(looks: Looks) -> None:
    looks.at(AWAY, STEP_S)
    assert not looks.found.still(looks.now)


def test_who_was_away_is_looked_at_until_that_is_forgotten(looks: Looks) -> None:
    looks.at(AWAY, 1.0)
    looks.at(HOME, PROVEN_S / 2)
    assert not looks.found.still(looks.now)
    looks.at(HOME, PROVEN_S)
    assert looks.found.still(looks.now)


def test_who_was_approved_elsewhere_is_looked_at_once(looks: Looks) -> None:
    looks.at(AWAY, PROVEN_S + STEP_S)
    looks.found.approve(AWAY)
    assert not looks.found.still(looks.now)
    looks.at(AWAY, STEP_S)
    assert looks.found.still(looks.now)
