"""Questions to a resolver, and what it answers."""

from __future__ import annotations

import pytest

from qsh.wire.dns import Reply, Srv, Svcb, parse
from qsh.wire.dns_query import SRV, SVCB, has_records, is_reply, query
from tests.support.dns import name, reply, srv, svcb

ASKED = query(0x1234, "_qsh._udp.Host.test", SRV)
ASKED_SVCB = query(0x1234, "_qsh.host.test", SVCB)
A, CNAME, AAAA = 1, 5, 28


def test_a_question() -> None:
    assert ASKED[:12] == bytes.fromhex("1234 0100 0001 0000 0000 0001")
    assert ASKED[12:-15] == name("_qsh._udp.host.test")
    assert ASKED[-15:-11] == bytes((0, SRV, 0, 1))


@pytest.mark.parametrize("wrong", ["", "a..b", "a" * 64, ".".join(["a" * 60] * 5)])
def test_what_is_no_name(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^[a.]*"):
        query(1, wrong, SRV)


def test_which_question_is_answered() -> None:
    good = reply(ASKED)
    assert is_reply(good, ASKED)
    assert not has_records(good)
    assert is_reply(good[:12] + good[12:].replace(b"host", b"HOST"), ASKED)
    for wrong in (b"", good[:12], b"\x12\x35" + good[2:], good.replace(b"host", b"hose"), ASKED):
        assert not is_reply(wrong, ASKED)


def test_srv_and_the_addresses_of_its_targets() -> None:
    more = [(name("a.test"), A, bytes((192, 0, 2, 1))), (name("b.test"), AAAA, bytes(15) + b"\1")]
    data = reply(ASKED, [srv("A.test", 4422, 1, 2), srv("b.test", 4423)], more)
    assert has_records(data)
    assert parse(data) == Reply(
        (Srv(1, 2, 4422, "a.test"), Srv(0, 0, 4423, "b.test")),
        (("a.test", bytes((192, 0, 2, 1))), ("b.test", bytes(15) + b"\1")),
    )


def test_an_alias_within_the_answer() -> None:
    alias = (b"\xc0\x0c", CNAME, name("x.test"))
    there = srv("a.test", 4422, owner=name("x.test"))
    other = srv("b.test", 4422, owner=name("y.test"))
    assert parse(reply(ASKED, [alias, there, other])).records == (Srv(0, 0, 4422, "a.test"),)
    ring = [alias, (name("x.test"), CNAME, b"\xc0\x0c")]
    assert parse(reply(ASKED, ring)) == Reply()


@pytest.mark.parametrize("flags", [0x8380, 0x8183, 0x8182, 0x0180])
def test_answers_that_are_none(flags: int) -> None:
    """Cut off, no such name, the server's failure, a question."""
    assert parse(reply(ASKED, [srv("a.test", 4422)], flags=flags)) == Reply()


def test_svcb() -> None:
    parameters = [
        (0, b"\0\1\0\3"),
        (1, b"\x05qsh/1\x02h3"),
        (3, b"\x11\x46"),
        (4, bytes((192, 0, 2, 1, 192, 0, 2, 2))),
        (6, bytes(15) + b"\1"),
        (99, b"whatever"),
    ]
    data = reply(ASKED_SVCB, [svcb(1, "a.test", parameters), svcb(0, "b.test")])
    hints = (bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)), bytes(15) + b"\1")
    first = Svcb(1, "a.test", (b"qsh/1", b"h3"), port=4422, hints=hints)
    assert parse(data).records == (first, Svcb(0, "b.test"))


def test_svcb_that_must_be_understood_and_is_not() -> None:
    (record,) = parse(reply(ASKED_SVCB, [svcb(1, "a.test", [(0, b"\0\x63"), (99, b"")])])).records
    assert isinstance(record, Svcb)
    assert not record.usable


@pytest.mark.parametrize(
    "parameters",
    [
        [(3, b"\0\1"), (1, b"\x05qsh/1")],
        [(3, b"\0\1"), (3, b"\0\1")],
        [(3, b"\0")],
        [(1, b"\x09qsh/1")],
        [(1, b"\0")],
        [(4, b"\1\2\3")],
        [(6, b"")],
        [(0, b"\0")],
    ],
)
def test_malformed_svcb_spoils_all(parameters: list[tuple[int, bytes]]) -> None:
    data = reply(ASKED_SVCB, [svcb(1, "good.test"), svcb(1, "a.test", parameters)])
    assert parse(data) == Reply()


def test_names_that_never_end() -> None:
    at = len(reply(ASKED)) + 2 + 10 + 6
    itself = (b"\xc0\x0c", SRV, bytes(6) + bytes((0xC0 | at >> 8, at & 0xFF)))
    assert parse(reply(ASKED, [itself])) == Reply()
    longer = (b"\xc0\x0c", SRV, bytes(6) + (b"\x3f" + b"a" * 63) * 4 + b"\0")
    assert parse(reply(ASKED, [longer])) == Reply()


def test_names_of_other_letters_are_not_asked_for() -> None:
    (record,) = parse(reply(ASKED, [srv("a b\x1b.test", 1)])).records
    assert record.target == "?"
