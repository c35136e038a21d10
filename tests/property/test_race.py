"""Races of any number of addresses, of which any fail or are refused at any time."""

from __future__ import annotations

import socket
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qsh.client.addresses import Address, in_order
from qsh.client.race import Race, head_start_s

FAMILIES = (socket.AF_INET, socket.AF_INET6)
addresses = st.lists(st.sampled_from(FAMILIES), max_size=8).map(
    lambda families: [Address(family, str(number)) for number, family in enumerate(families)]
)
STEPS = st.lists(
    st.tuples(st.sampled_from(("wait", "fail", "refuse")), st.integers(0, 7)), max_size=60
)


@given(addresses, st.floats(0.0, 5000.0), STEPS)
def test_whatever_happens(found: list[Address], rtt_ms: float, steps: list[tuple[str, int]]) -> None:  # fmt: skip
    race = Race(found, rtt_ms)
    now, starts, under_way, told = 0.0, list[tuple[float, Address]](), list[Address](), True
    closed = set[Address]()
    for what, number in [*steps, *[("wait", 0)] * 60, *[("fail", 0)] * 60]:
        while (address := race.due(now)) is not None:
            first = address not in (before for _, before in starts)
            if not told and set(under_way) - closed:
                assert now - starts[-1][0] >= min(head_start_s(rtt_ms), 0.5) - 1e-6
            assert first or address in under_way, "what has failed is not tried again"
            starts.append((now, address))
            under_way.append(address)
            told = False
        if what == "wait" and race.deadline is not None:
            assert race.deadline > now, "it would spin"
            now = race.deadline
        elif what == "fail" and under_way:
            race.failed(under_way.pop(number % len(under_way)))
            told = True
        elif what == "refuse" and found:
            closed.add(found[number % len(found)])
            race.refused(found[number % len(found)])
            told = True
    assert race.over
    assert list(dict.fromkeys(address for _, address in starts)) == found
    assert len(starts) <= len(found) + 3


@given(addresses, st.integers(0, 7))
def test_orders(found: list[Address], number: int) -> None:
    ordered = in_order(found, 22, str(number))
    assert sorted(ordered) == sorted(found)
    families = [address.family for address in ordered]
    smaller = min(families.count(family) for family in FAMILIES)
    turns = families[: 2 * smaller]
    assert all(one != next_ for one, next_ in pairwise(turns))
