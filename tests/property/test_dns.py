"""Whatever a resolver, or who plays one, answers: records or none, bounded, and never an error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qsh.client.service_records import alias_of, of_srv, of_svcb
from qsh.wire.dns import Reply, parse
from qsh.wire.dns_query import SRV, SVCB, query
from tests.support.dns import reply, srv, svcb

ASKED = {kind: query(7, "_qsh.host.test", kind) for kind in (SRV, SVCB)}
GOOD = (
    reply(ASKED[SRV], [srv("a.test", 4422, 1, 1), srv("b.test", 4422)]),
    reply(ASKED[SVCB], [svcb(1, "a.test", [(1, b"\x05qsh/1"), (3, b"\1\1"), (4, b"1234")])]),
    reply(ASKED[SVCB], [svcb(0, "a.test")]),
)


def check(data: bytes) -> Reply:
    found = parse(data)
    assert len(found.records) <= 64
    for text in (alias_of(found.records), *(each.target for each in found.records)):
        assert text.isascii()
        assert len(text) <= 255
        assert text.isprintable()
    for services in (
        of_srv(found.records, lambda most: most // 2),
        of_svcb(found.records, "owner", 22, lambda most: most // 2),
    ):
        assert len(services) <= 8
        assert all(0 < each.port <= 65535 for each in services)
        assert all(len(hint) in (4, 16) for each in services for hint in each.hints)
    return found


@given(st.binary(max_size=600))
def test_noise(data: bytes) -> None:
    check(data)


@given(st.sampled_from([SRV, SVCB]), st.lists(st.binary(max_size=80), max_size=6))
def test_records_of_noise(kind: int, values: list[bytes]) -> None:
    check(reply(ASKED[kind], [(b"\xc0\x0c", kind, value) for value in values]))


@given(st.sampled_from(GOOD), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255))))
def test_changed_bytes(data: bytes, changes: list[tuple[int, int]]) -> None:
    assert check(data).records
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(data)] = value
    check(bytes(changed))
    for end in range(len(data)):
        check(data[:end])
