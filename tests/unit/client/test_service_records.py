"""Which places records lead to, in which order."""

from __future__ import annotations

import random

import pytest

from qsh.client.service_records import Service, alias_of, of_srv, of_svcb
from qsh.wire.dns import Srv, Svcb


def lowest(most: int) -> int:
    del most
    return 0


def test_srv_by_priority() -> None:
    found = of_srv([Srv(2, 0, 1, "c"), Srv(1, 0, 2, "a"), Srv(1, 5, 3, "b")], lowest)
    assert found == [Service("a", 2), Service("b", 3), Service("c", 1)]


def test_srv_by_weight() -> None:
    source = random.Random(1)
    records = [Srv(0, 10, 1, "a"), Srv(0, 30, 1, "b"), Srv(0, 0, 1, "c")]
    first = [of_srv(records, lambda most: source.randint(0, most))[0].target for _ in range(2000)]
    assert 0.2 < first.count("a") / 2000 < 0.3
    assert 0.68 < first.count("b") / 2000 < 0.78
    assert 0 < first.count("c") < 2000 / 20, "RFC 2782: a very small chance"


def test_srv_that_leads_nowhere() -> None:
    assert of_srv([Srv(0, 0, 0, "a"), Srv(0, 0, 22, "."), Srv(0, 0, 22, "?")], lowest) == []


def test_places_are_few() -> None:
    assert len(of_srv([Srv(n, 0, 22, f"h{n}") for n in range(50)], lowest)) == 8
    assert len(of_svcb([Svcb(1, f"h{n}") for n in range(50)], "o", 22, lowest)) == 8


def test_svcb_by_priority_and_chance() -> None:
    records = [Svcb(2, "c"), Svcb(1, "a", port=4422), Svcb(1, "b", hints=(b"1234",))]
    assert of_svcb(records, "o", 22, lowest) == [
        Service("a", 4422),
        Service("b", 22, (b"1234",)),
        Service("c", 22),
    ]
    assert of_svcb(records, "o", 22, lambda most: most)[0].target == "b"
    assert of_svcb([Svcb(1, ".")], "_qsh.h", 22, lowest) == [Service("_qsh.h", 22)]


@pytest.mark.parametrize(
    ("record", "speaks"),
    [
        (Svcb(1, "a"), True),
        (Svcb(1, "a", (b"h3", b"qsh/1")), True),
        (Svcb(1, "a", (b"h3",)), False),
        (Svcb(1, "a", default_alpn=False), False),
        (Svcb(1, "a", (b"qsh/1",), default_alpn=False), True),
        (Svcb(1, "a", usable=False), False),
        (Svcb(1, "?"), False),
    ],
)
def test_svcb_of_another_protocol(record: Svcb, speaks: bool) -> None:
    assert bool(of_svcb([record], "o", 22, lowest)) is speaks


def test_aliases() -> None:
    assert alias_of([Svcb(1, "a"), Svcb(0, "b")]) == "b"
    assert of_svcb([Svcb(1, "a"), Svcb(0, "b")], "o", 22, lowest) == []
    assert alias_of([Svcb(1, "a")]) == alias_of([Svcb(0, ".")]) == alias_of([]) == ""
