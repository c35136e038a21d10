"""Penalties on a virtual clock: how they add up, who is refused until when, that the memory is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsh.config.daemon_penalties import CAUSES, PenaltyRules
from qsh.server.admission import source_block
from qsh.server.kept_penalties import KeptPenalties
from qsh.server.penalties import REASONS, Penalties, cause_of
from qsh.server.requests import MAX_PACKET, Penalised, encode

ONE, TWO, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"


def of(exempt: str = "none", v4_bits: int = 32, v6_bits: int = 64, **rules: object) -> Penalties:
    found = PenaltyRules(**rules)  # type: ignore[arg-type]
    return Penalties(found, exempt, lambda address: source_block(address, v4_bits, v6_bits))


def test_nobody_is_refused_below_the_minimum() -> None:
    found = of()
    for number in range(3):
        penalty = found.penalise(100.0, ONE, "authfail")
        assert penalty is not None
        assert penalty[:3] == (f"{ONE}/32", 5.0 * (number + 1), False)
        assert found.refused_until(100.0, ONE) is None
    penalty = found.penalise(100.0, ONE, "authfail")
    assert penalty is not None
    assert penalty[:3] == (f"{ONE}/32", 20.0, True)
    assert found.refused_until(100.0, ONE) == 120.0
    assert found.refused_until(119.9, ONE) == 120.0
    assert found.refused_until(100.0, TWO) is None
    assert found.refused_until(120.0, ONE) is None
    assert len(found) == 0


def test_time_takes_off_what_has_added_up() -> None:
    found = of()
    for second in range(0, 100, 5):  # as fast as they go by
        found.penalise(float(second), ONE, "authfail")
        assert found.refused_until(float(second), ONE) is None


def test_once_refused_a_source_is_until_all_is_over() -> None:
    found = of()
    found.penalise(0.0, ONE, "crash")
    assert found.refused_until(80.0, ONE) == 90.0  # though ten are less than the minimum
    penalty = found.penalise(80.0, ONE, "noauth")
    assert penalty is not None
    assert penalty[1:3] == (11.0, False)
    assert found.refused_until(80.0, ONE) == 91.0


def test_the_maximum() -> None:
    found = of(max=30.0)
    for _ in range(9):
        found.penalise(0.0, ONE, "authfail")
    assert found.refused_until(0.0, ONE) == 30.0


@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_that_costs_nothing(cause: str) -> None:
    found = of(**{cause.replace("-", "_"): 0.0})
    assert found.penalise(0.0, ONE, cause) is None
    assert len(found) == found.counts[cause] == 0
    assert REASONS[cause]


def test_off() -> None:
    found = of(enabled=False)
    assert found.penalise(0.0, ONE, "crash") is None
    assert found.refused_until(0.0, ONE) is None


def test_networks() -> None:
    found = of(v4_bits=24)
    found.penalise(0.0, ONE, "crash")
    found.penalise(0.0, SIX, "crash")
    assert found.refused_until(0.0, "192.0.2.200") == 90.0
    assert found.refused_until(0.0, "192.0.3.1") is None
    assert found.refused_until(0.0, "::ffff:192.0.2.3") == 90.0
    assert found.refused_until(0.0, "2001:db8::ffff") == 90.0
    assert found.refused_until(0.0, "2001:db8:0:1::1") is None


def test_exempt() -> None:
    found = of("192.0.2.0/24,!192.0.2.2,2001:db8::*")
    assert found.penalise(0.0, ONE, "crash") is None
    assert found.penalise(0.0, SIX, "crash") is None
    assert found.penalise(0.0, TWO, "crash") is not None
    assert found.refused_until(0.0, TWO) == 90.0


def test_a_full_table_forgets_what_is_over_soonest() -> None:
    found = of(max_sources4=2, max_sources6=1)
    for number, cause in enumerate(("grace-exceeded", "crash", "crash")):
        found.penalise(float(number), f"192.0.2.{number}", cause)
    assert [found.refused_until(3.0, f"192.0.2.{number}") for number in range(3)] == [
        None,
        91.0,
        92.0,
    ]
    found.penalise(3.0, SIX, "crash")
    assert len(found) == 3


def test_a_full_table_that_denies_all() -> None:
    found = of("192.0.2.9", max_sources4=2, overflow="deny-all")
    found.penalise(0.0, ONE, "noauth")
    found.penalise(0.5, TWO, "noauth")
    assert found.refused_until(0.6, "192.0.2.3") == 0.6
    assert found.refused_until(0.6, "192.0.2.9") is None
    assert found.refused_until(0.6, SIX) is None
    penalty = found.penalise(0.6, "192.0.2.3", "crash")
    assert penalty is not None
    assert penalty.is_full
    assert found.refused_until(1.0, "192.0.2.3") is None


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("invalid user 'x'", "invaliduser"),
        ("unknown user", "invaliduser"),
        ("User 'x' from ::1 not allowed because of RefuseConnection", "refuseconnection"),
        ("no key of those offered is authorized", "authfail"),
        ("", "authfail"),
    ],
)
def test_causes(reason: str, cause: str) -> None:
    assert cause_of(reason) == cause


STEPS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.integers(0, 9),
        st.booleans(),
        st.sampled_from(CAUSES),
    ),
    max_size=150,
)


@settings(max_examples=200)
@given(STEPS, st.integers(0, 5), st.sampled_from(["permissive", "deny-all"]))
def test_the_same_as_a_table_without_an_order(
    steps: list[tuple[float, int, bool, str]], most: int, mode: str
) -> None:
    """Whatever happens: a list that is gone through each time says the same, and memory is bounded."""
    rules = PenaltyRules(
        max=40.0, max_sources4=most, max_sources6=most, overflow=mode, overflow6=mode
    )
    found = Penalties(rules, "none", lambda address: source_block(address, 32, 64))
    tables: dict[bool, dict[str, tuple[float, bool]]] = {True: {}, False: {}}
    now = 0.0
    for passed, host, is_v6, cause in steps:
        now += passed
        table = {name: each for name, each in tables[is_v6].items() if each[0] > now}
        address = f"2001:db8:0:{host}::1" if is_v6 else f"192.0.2.{host}"
        until, active = table.get(address, (now, False))
        full = mode == "deny-all" and len(table) >= most
        expected = until if active else now if full else None
        assert found.refused_until(now, address) == expected
        found.penalise(now, address, cause)
        if not full:
            later = until + rules.seconds(cause)
            later = min(later, now + rules.max) if address in table else later
            table[address] = later, active or later - now > rules.min
            while len(table) > most:
                del table[min(table, key=lambda name: (table[name][0], name))]
        tables[is_v6] = table
        assert len(found._tables[is_v6].entries) == len(table) <= most
        assert all(len(each._order) <= 2 * most + 17 for each in found._tables.values())


def test_a_front_takes_over_what_the_one_before_noted() -> None:
    found = of(max=600)
    found.restore(100.0, f"{ONE}/32", 150.0, active=True)
    found.restore(100.0, f"{TWO}/32", 104.0, active=False)
    assert found.refused_until(100.0, ONE) == 150.0
    assert found.refused_until(100.0, TWO) is None
    penalty = found.penalise(100.0, TWO, "grace-exceeded")
    assert penalty is not None
    assert penalty.seconds == 14.0, "it adds up"
    assert found.refused_until(150.0, ONE) is None


def test_what_it_takes_over_is_bounded_and_within_the_rules() -> None:
    found = of(max=600, max_sources4=2)
    found.restore(100.0, f"{ONE}/32", 1e300, active=True)
    assert found.refused_until(100.0, ONE) == 700.0
    found.restore(100.0, f"{TWO}/32", 99.0, active=True)
    assert found.refused_until(100.0, TWO) is None, "it is over"
    for number in range(5):
        found.restore(100.0, f"198.51.100.{number}/32", 200.0, active=True)
    assert len(found) == 2
    none = of(enabled=False)
    none.restore(100.0, f"{ONE}/32", 200.0, active=True)
    assert len(none) == 0


def test_what_the_monitor_keeps_for_it_is_bounded() -> None:
    kept = KeptPenalties(most=8)
    for number in range(8):
        kept.keep(Penalised(f"192.0.2.{number}/32", 10.0 + number, active=True), 0.0)
    kept.keep(Penalised("192.0.2.0/32", 50.0, active=False), 0.0)
    assert [len(each.penalties) for each in kept.messages(0.0)] == [8]
    kept.keep(Penalised("192.0.2.99/32", 99.0, active=True), 0.0)
    (message,) = kept.messages(0.0)
    sources = [each.source for each in message.penalties]
    assert sources == [f"192.0.2.{number}/32" for number in (3, 4, 5, 6, 7, 0, 99)]
    assert list(kept.messages(99.0)) == []


WORDS = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.floats() | st.floats(0, 1000),
        st.booleans(),
        st.floats(0, 100),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(WORDS, st.integers(1, 9), st.floats(0, 300), st.floats(0, 300))
def test_whatever_a_front_says_it_is_over_when_the_rules_say(
    words: list[tuple[int, float, bool, float]], most: int, highest: float, crash: float
) -> None:
    """Since it was said: not since the next front has begun, of which there may be many."""
    kept = KeptPenalties(most)
    rules = kept.rules = PenaltyRules(max=highest, crash=crash)
    said: dict[str, float] = {}
    now = 0.0
    for host, until, active, passed in words:
        now += passed
        source = f"192.0.2.{host}/32"
        kept.keep(Penalised(source, until, active), now)
        said[source] = now
        found = [each for message in kept.messages(now) for each in message.penalties]
        assert len({each.source for each in found}) == len(found) <= most
        assert all(now < each.until <= said[each.source] + rules.longest for each in found)
        for start in (now, now + 5.0):
            front = Penalties(rules, "none", lambda address: source_block(address, 32, 64))
            for each in found:
                front.restore(start, each.source, each.until, active=each.active)
            for each in found:
                refused = front.refused_until(start, each.source.removesuffix("/32"))
                assert refused is None or refused <= said[each.source] + rules.longest
    assert list(kept.messages(now + rules.longest)) == []


def test_it_is_handed_over_in_packets() -> None:
    kept = KeptPenalties()
    for number in range(1000):
        kept.keep(Penalised(f"2001:db8:{number:x}::/64", 1e6, active=True), 0.0)
    found = list(kept.messages(0.0))
    assert sum(len(each.penalties) for each in found) == 1000
    assert max(len(encode(each)) for each in found) < MAX_PACKET
