"""Which address is tried when."""

from __future__ import annotations

import socket

import pytest

from qsh.client.addresses import Address, in_order
from qsh.client.race import Race, head_start_s

FIRST = Address(socket.AF_INET6, "2001:db8::1")
SECOND = Address(socket.AF_INET, "192.0.2.1")
THIRD = Address(socket.AF_INET6, "2001:db8::2")


def started(race: Race, until: float) -> list[tuple[float, Address]]:
    """Every start up to this moment of a network in which nothing answers."""
    found, now = [], 0.0
    while True:
        while (address := race.due(now)) is not None:
            found.append((round(now, 6), address))
        if race.deadline is None or race.deadline > until:
            return found
        now = race.deadline


def test_each_address_has_a_head_start() -> None:
    starts = started(Race([FIRST, SECOND, THIRD], 100.0), 0.6)
    assert starts == [(0.0, FIRST), (0.25, SECOND), (0.5, THIRD)]


@pytest.mark.parametrize(
    ("rtt_ms", "seconds"), [(10.0, 0.115), (100.0, 0.25), (700.0, 1.15), (5000.0, 2.0)]
)
def test_the_head_start_follows_the_round_trip(rtt_ms: float, seconds: float) -> None:
    assert head_start_s(rtt_ms) == pytest.approx(seconds)
    race = Race([FIRST, SECOND], rtt_ms)
    assert race.due(3.0) == FIRST
    assert race.due(3.0) is None
    assert race.deadline == pytest.approx(3.0 + seconds)


def test_a_failure_starts_the_next_at_once() -> None:
    race = Race([FIRST, SECOND, THIRD], 100.0)
    assert race.due(0.0) == FIRST
    race.failed(FIRST)
    assert race.due(0.001) == SECOND
    assert race.due(0.001) is None
    race.failed(SECOND)
    assert race.due(0.002) == THIRD
    race.failed(THIRD)
    assert race.over
    assert race.deadline is None


def test_a_closed_port_starts_the_next_at_once_and_is_not_the_end() -> None:
    race = Race([FIRST, SECOND], 100.0)
    assert race.due(0.0) == FIRST
    race.refused(FIRST)
    assert race.due(0.001) == SECOND
    race.failed(SECOND)
    assert not race.over, "whoever said so may have lied"
    race.failed(FIRST)
    assert race.over


def test_word_of_a_closed_port_may_come_before_its_turn() -> None:
    race = Race([FIRST, SECOND, THIRD], 100.0)
    assert race.due(0.0) == FIRST
    race.refused(SECOND)
    assert race.due(0.0) is None, "the first one may still answer"
    assert race.due(0.25) == SECOND
    race.refused(FIRST)
    assert race.due(0.25) == THIRD, "nothing is hoped for from the two before"


def test_a_silent_address_is_tried_again_from_another_socket() -> None:
    starts = started(Race([FIRST], 100.0), 60.0)
    assert starts == [(0.0, FIRST), (0.5, FIRST), (1.25, FIRST), (2.375, FIRST)]


def test_repetitions_take_turns_and_leave_out_closed_ports() -> None:
    race = Race([FIRST, SECOND, THIRD], 100.0)
    race.refused(SECOND)
    starts = started(race, 60.0)
    assert [address for _, address in starts] == [FIRST, SECOND, THIRD, FIRST, THIRD, FIRST]


def test_nothing_to_try() -> None:
    race = Race([], 100.0)
    assert race.over
    assert race.due(0.0) is None


def test_the_order_of_a_host_that_is_not_known() -> None:
    assert in_order([FIRST, THIRD, SECOND], 22, "") == [FIRST, SECOND, THIRD]
    assert in_order([FIRST], 22, "") == [FIRST]


def test_the_last_winner_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qsh.client.addresses.has_route", lambda *_: True)
    assert in_order([FIRST, THIRD, SECOND], 22, SECOND.host) == [SECOND, FIRST, THIRD]
    assert in_order([FIRST, THIRD, SECOND], 22, "198.51.100.1") == [FIRST, SECOND, THIRD]


def test_a_winner_without_a_route_has_to_wait_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qsh.client.addresses.has_route", lambda *_: False)
    assert in_order([FIRST, THIRD, SECOND], 22, SECOND.host) == [FIRST, SECOND, THIRD]
