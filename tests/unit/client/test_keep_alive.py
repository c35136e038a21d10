"""Silence as long as a NAT bears it, on a clock of its own."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.client.keep_alive import FIRST_S, MAX_S, MIN_S, KeepAlive, Learned, Traffic

NOTHING = Learned()


class Nat:
    """A connection through one that forgets after ``keeps_s``; what the server has in the meantime waits for the next packet."""

    def __init__(self, keeps_s: float = math.inf, learned: Learned = NOTHING) -> None:
        self.keeps_s, self.now, self.last = keeps_s, 0.0, 0.0
        self.sent = self.received = self.challenges = self.moves = 0
        self.pings = self.lost = 0
        self.longest = 0.0
        self.cut = False
        self.keep_alive = KeepAlive(learned, 0.0, self.traffic)

    @property
    def traffic(self) -> Traffic:
        return Traffic(self.sent, self.received, self.challenges, self.moves)

    def packet(self) -> None:
        silence, self.last = self.now - self.last, self.now
        self.sent += 40
        self.longest = max(self.longest, silence)
        if self.cut:
            return
        self.received += 1
        if silence > self.keeps_s:
            self.challenges += 1
            self.lost += 1

    def run(self, seconds: float, traffic_every: float = math.inf) -> None:
        """Pings as they are due, and something of the user's besides."""
        end, typed = self.now + seconds, self.now + traffic_every
        while min(self.keep_alive.deadline, typed) <= end:
            if typed < self.keep_alive.deadline:
                self.now, typed = typed, typed + traffic_every
                self.packet()
                continue
            self.now = self.keep_alive.deadline
            if self.keep_alive.look(self.now, self.traffic):
                self.pings += 1
                self.packet()
        self.now = end


def test_without_a_nat_silence_grows_to_the_limit() -> None:
    nat = Nat()
    nat.run(3600)
    assert nat.keep_alive.learned == Learned(MAX_S)
    nat.pings = 0
    nat.run(3600)
    assert nat.pings == 3600 / MAX_S


@pytest.mark.parametrize("keeps_s", [12.0, 30.0, 60.0, 120.0, 180.0, 280.0])
def test_a_nat_loses_us_a_few_times_only(keeps_s: float) -> None:
    nat = Nat(keeps_s)
    nat.run(6 * 3600)
    assert nat.lost <= 6
    learned = nat.keep_alive.learned
    assert keeps_s / 1.3 <= learned.survived_s <= keeps_s
    lost, nat.pings = nat.lost, 0
    nat.run(3600)
    assert nat.lost == lost, "what was learned holds"
    assert nat.pings <= 3600 / (keeps_s / 1.3) + 1


def test_what_was_learned_is_begun_with() -> None:
    nat = Nat(120.0, Learned(110.0, 126.0))
    nat.run(3600)
    assert nat.lost == 0
    assert nat.pings <= 3600 / 110 + 2


def test_a_nat_that_has_become_stricter() -> None:
    nat = Nat(20.0, Learned(110.0, 126.0))
    nat.run(3 * 3600)
    assert nat.keep_alive.learned.survived_s <= 20.0
    lost = nat.lost
    nat.run(3600)
    assert nat.lost == lost


def test_one_that_has_become_more_generous_costs_nothing() -> None:
    nat = Nat(math.inf, Learned(25.0, 30.0))
    nat.run(3600)
    assert nat.keep_alive.learned == Learned(25.0, 30.0)


def test_other_traffic_is_as_good_as_pings() -> None:
    nat = Nat(120.0)
    nat.run(3600, traffic_every=10.0)
    assert nat.pings == 0
    assert nat.keep_alive.learned == Learned(), "nothing was silent"


def test_a_silence_that_began_unseen_is_not_longer_than_one_that_was() -> None:
    nat = Nat(120.0, Learned(110.0, 126.0))
    nat.run(36_000, traffic_every=300.0)
    assert nat.lost == 0
    assert nat.longest <= 110.0


def test_a_move_of_our_own_says_nothing_about_the_nat() -> None:
    nat = Nat()
    before = nat.keep_alive.learned
    while not nat.keep_alive.look(nat.keep_alive.deadline, nat.traffic):
        pass
    nat.received += 1
    nat.moves += 1
    nat.challenges += 1
    nat.keep_alive.look(nat.keep_alive.deadline, nat.traffic)
    assert nat.keep_alive.learned == before


def test_an_outage_teaches_nothing() -> None:
    nat = Nat(120.0, Learned(110.0, 126.0))
    nat.cut = True
    nat.run(3600)
    assert nat.keep_alive.learned == Learned(110.0, 126.0)
    assert nat.pings >= 3600 / 110 - 1, "it goes on asking"


def test_what_a_suspension_loses_is_no_news() -> None:
    assert Learned(110.0).after(3600.0, survived=False) == Learned(110.0)
    assert Learned(110.0).after(3600.0, survived=True) == Learned(MAX_S)


@given(st.lists(st.tuples(st.floats(0.1, 5000.0), st.booleans()), max_size=50))
def test_whatever_is_learned_makes_sense(experience: list[tuple[float, bool]]) -> None:
    learned = Learned()
    for silence, survived in experience:
        learned = learned.after(silence, survived=survived)
        assert MIN_S <= learned.next_s <= MAX_S
        assert 0 <= learned.survived_s <= MAX_S
        assert not learned.lost_s or learned.survived_s < learned.lost_s
    assert Learned().next_s == FIRST_S
