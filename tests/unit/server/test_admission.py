"""Limits before authentication, on a virtual clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsh.config.daemon_parser import parse
from qsh.config.daemon_penalties import PenaltyRules
from qsh.server import admission
from qsh.server.admission import Admission, Decision, Limits, limits_of, source_block

ACCEPT, RETRY, REFUSE, IGNORE = Decision


def crowd(count: int, draw: int = 0, **limits: object) -> Admission:
    """An Admission with ``count`` unauthenticated connections from as many addresses."""
    found = Admission(Limits(**limits), lambda: draw)  # type: ignore[arg-type]
    for number in range(count):
        found.begin(number, f"10.0.{number // 256}.{number % 256}")
    return found


@pytest.mark.parametrize(
    ("startups", "draw", "expected"),
    [
        (0, 0, ACCEPT),
        (9, 0, ACCEPT),
        (10, 29, REFUSE),  # 30 % at start
        (10, 30, ACCEPT),
        (55, 64, REFUSE),  # half way: 65 %
        (55, 65, ACCEPT),
        (99, 98, REFUSE),
        (99, 99, ACCEPT),  # sshd rounds down: 99 %
        (100, 99, REFUSE),
        (150, 99, REFUSE),
    ],
)
def test_random_early_drop(startups: int, draw: int, expected: Decision) -> None:
    found = crowd(startups, draw)
    assert found.decide(0.0, "192.0.2.1", validated=True) is expected


def test_a_rate_of_100_drops_all_from_start_on() -> None:
    assert crowd(10, 99, rate=100).decide(0.0, "192.0.2.1", True) is REFUSE


def test_start_equal_to_full_is_a_plain_limit() -> None:
    assert crowd(4, start=5, full=5).decide(0.0, "192.0.2.1", True) is ACCEPT
    assert crowd(5, 99, start=5, full=5).decide(0.0, "192.0.2.1", True) is REFUSE


def test_retry_only_when_it_is_crowded_and_the_address_unproven() -> None:
    assert crowd(4).decide(0.0, "192.0.2.1", validated=False) is ACCEPT
    assert crowd(5).decide(0.0, "192.0.2.1", validated=False) is RETRY
    assert crowd(5).decide(0.0, "192.0.2.1", validated=True) is ACCEPT
    assert crowd(500).decide(0.0, "192.0.2.1", validated=False) is RETRY


def test_per_source() -> None:
    found = crowd(0, per_source=2)
    found.begin(1, "192.0.2.1")
    found.begin(2, "192.0.2.1")
    assert found.decide(0.0, "192.0.2.1", True) is REFUSE
    assert found.decide(0.0, "192.0.2.2", True) is ACCEPT
    found.end(1)
    assert found.decide(0.0, "192.0.2.1", True) is ACCEPT


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("?", "?", True),
        ("?", "!", False),
    ],
)
def test_blocks(first: str, second: str, same: bool) -> None:
    assert (source_block(first, 32, 64) == source_block(second, 32, 64)) is same


def test_all_connections_are_capped() -> None:
    found = crowd(2, max_connections=3)
    assert found.decide(0.0, "192.0.2.1", True) is ACCEPT
    found.authenticated(0)
    found.begin(7, "192.0.2.1")
    assert (found.unauthenticated, found.connections) == (2, 3)
    assert found.decide(0.0, "192.0.2.9", True) is REFUSE
    found.end(0)
    assert found.decide(0.0, "192.0.2.9", True) is ACCEPT


def test_a_source_that_does_not_stop_is_ignored_for_a_while() -> None:
    found = crowd(1, per_source=0)
    answers = [found.decide(float(i) / 10, "192.0.2.1", True) for i in range(30)]
    assert answers == [REFUSE] * 20 + [IGNORE] * 10
    assert found.decide(3.0, "192.0.2.2", True) is REFUSE
    assert found.decide(11.0, "192.0.2.1", True) is REFUSE


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_REFUSED_SOURCES", 10)
    found = crowd(0, per_source=0)
    for number in range(1000):
        found.decide(0.0, f"10.0.{number // 256}.{number % 256}", True)
    assert len(found._refused) == 10


def test_who_has_logged_in_counts_among_all_connections_only() -> None:
    found = crowd(0)
    for number in (1, 2, 3):
        found.begin(number, "192.0.2.1")
    found.authenticated(1)
    found.end(2)
    assert (found.unauthenticated, found.connections) == (1, 2)
    found.authenticated(2)  # it is gone
    found.end(1)
    assert (found.unauthenticated, found.connections) == (1, 1)


def test_end_is_harmless_when_repeated() -> None:
    found = crowd(3)
    for _ in range(3):
        found.end(1)
        found.end(99)
        found.authenticated(98)
    assert found.unauthenticated == found.connections == 2


def test_a_number_that_begins_again_counts_once() -> None:
    found = crowd(0)
    found.begin(1, "192.0.2.1")
    found.begin(1, "192.0.2.2")
    assert found.unauthenticated == 1


def test_limits_of_a_configuration() -> None:
    text = (
        "MaxStartups 3:50:7\n"
        "PerSourceMaxStartups 2\nPerSourceNetBlockSize 24:48\n"
        "QshRetryThreshold 1\nQshMaxConnections 9\n"
    )
    assert limits_of(parse(text, "/f").options) == Limits(3, 50, 7, 2, 24, 48, 1, 9)
    assert limits_of(parse("", "/f").options) == Limits()
    text = "PerSourcePenalties authfail:1m\nPerSourcePenaltyExemptList 192.0.2.0/24\n"
    found = limits_of(parse(text, "/f").options)
    assert found == Limits(penalties=PenaltyRules(authfail=60.0), exempt="192.0.2.0/24")


def test_a_penalty_goes_before_all_and_ends() -> None:
    found = Admission(Limits(retry_above=0))
    for _ in range(4):
        found.penalise(100.0, "192.0.2.1", "authfail")
    assert found.decide(101.0, "192.0.2.1", False) is REFUSE
    assert found.decide(101.0, "192.0.2.2", False) is RETRY
    assert [found.decide(102.0, "192.0.2.1", True) for _ in range(20)] == [REFUSE] * 19 + [IGNORE]
    assert found.counts["penalised"] == 21
    assert found.counts["refuse"] == found.counts["ignore"] == 0
    assert found.decide(120.0, "192.0.2.1", True) is ACCEPT


def test_other_limits_leave_penalties_in_force() -> None:
    found = Admission(Limits())
    found.penalise(100.0, "192.0.2.1", "crash")
    found.limits = Limits(exempt="192.0.2.0/28")
    assert not found.is_penalised(101.0, "192.0.2.1")
    found.limits = Limits()
    assert found.is_penalised(101.0, "192.0.2.1")
    found.limits = Limits(penalties=PenaltyRules(enabled=False))
    assert not found.is_penalised(101.0, "192.0.2.1")
    assert found.penalise(101.0, "192.0.2.1", "crash") is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["try", "authenticated", "end"]),
        st.integers(0, 30),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=120,
)


@settings(max_examples=200)
@given(STEPS, st.integers(0, 2**32))
def test_the_limits_hold_whatever_happens(
    steps: list[tuple[str, int, int, bool]], seed: int
) -> None:
    limits = Limits(start=3, rate=30, full=8, per_source=4, retry_above=2, max_connections=12)
    dice = random.Random(seed)
    found = Admission(limits, lambda: dice.randrange(100))
    now, numbers = 0.0, 0
    waiting: dict[int, str] = {}
    settled: set[int] = set()
    for what, which, host, validated in steps:
        now += 7.0
        address = f"192.0.2.{host}"
        if what == "try":
            decision = found.decide(now, address, validated)
            if decision is ACCEPT:
                numbers += 1
                found.begin(numbers, address)
                waiting[numbers] = address
                assert validated or len(waiting) <= 2
            elif decision is RETRY:
                assert not validated
        elif what == "authenticated":
            found.authenticated(which)
            if waiting.pop(which, None):
                settled.add(which)
        elif what == "end":
            found.end(which)
            waiting.pop(which, None)
            settled.discard(which)
        assert found.unauthenticated == len(waiting) <= limits.full
        assert found.connections == len(waiting) + len(settled) <= limits.max_connections
        sources = list(waiting.values())
        assert all(sources.count(source) <= 4 for source in sources)
    assert sum(found._per_source.values()) == len(waiting)
