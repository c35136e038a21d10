"""Invariant: whatever a resolver answers is records, a bounded number of them, or nothing."""

from __future__ import annotations

from qsh.client.service_records import of_srv, of_svcb
from qsh.wire.dns import parse
from qsh.wire.dns_query import SRV, SVCB, query
from tests.support.dns import reply, srv, svcb

__all__ = ["fuzz_one"]

SEEDS = (
    reply(query(7, "_qsh._udp.a.test", SRV), [srv("a.test", 4422, 1, 1), srv("b.test", 4422)]),
    reply(
        query(7, "_qsh.a.test", SVCB),
        [svcb(1, "a.test", [(0, b"\0\1"), (1, b"\x05qsh/1"), (3, b"\1\1"), (4, b"1234")])],
        [(b"\x01a\x04test\0", 1, b"1234")],
    ),
    reply(query(7, "_qsh.a.test", SVCB), [(b"\xc0\x0c", 5, b"\x01b\0"), svcb(0, "a.test")]),
)


def fuzz_one(data: bytes) -> None:
    """As the client does."""
    found = parse(data)
    for services in (
        of_srv(found.records, lambda most: most),
        of_svcb(found.records, "owner", 22, lambda most: most),
    ):
        assert len(services) <= 8
        assert all(each.target.isprintable() and 0 < each.port <= 65535 for each in services)
