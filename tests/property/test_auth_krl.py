"""Serials get into a KRL in any form that PROTOCOL.krl has, and each is found again, no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.auth.certificates import Certificate
from qsh.auth.keys import PublicKey
from qsh.auth.krl import RevokedKeys
from qsh.auth.sshwire import Writer
from qsh.errors import KeyFormatError
from tests.fuzz.fuzz_auth import ED25519, RSA
from tests.fuzz.fuzz_krl import _certificates, _krl, fuzz_one

LAST = 2**64 - 1
SERIAL = st.one_of(st.integers(1, 300), st.integers(LAST - 300, LAST), st.integers(1, LAST))
KEY, AUTHORITY = PublicKey.from_blob(ED25519), PublicKey.from_blob(RSA)


def certificate(serial: int, authority: PublicKey = AUTHORITY) -> Certificate:
    return Certificate(KEY, 1, serial, "id", ("u",), 0, LAST, (), (), authority, "rsa-sha2-512")


@st.composite
def sections(draw: st.DrawFn) -> tuple[set[int], list[tuple[int, bytes]]]:
    serials: set[int] = set()
    made: list[tuple[int, bytes]] = []
    for kind in draw(st.lists(st.sampled_from(("list", "range", "bitmap")), max_size=4)):
        if kind == "list":
            some = draw(st.lists(SERIAL, max_size=5))
            serials |= set(some)
            made.append((0x20, b"".join(number.to_bytes(8, "big") for number in some)))
        elif kind == "range":
            low = draw(SERIAL)
            high = min(LAST, low + draw(st.integers(0, 20)))
            serials |= set(range(low, high + 1))
            made.append((0x21, Writer().uint64(low).uint64(high).bytes()))
        else:
            first = draw(SERIAL)
            offsets = draw(st.sets(st.integers(0, min(200, LAST - first)), max_size=8))
            serials |= {first + offset for offset in offsets}
            bits = sum(1 << offset for offset in offsets)
            made.append((0x22, Writer().uint64(first).mpint(bits).bytes()))
    return serials, made


@given(sections(), SERIAL, st.booleans())
def test_serials_are_found_again(
    made: tuple[set[int], list[tuple[int, bytes]]], other: int, anybody: bool
) -> None:
    serials, parts = made
    found = RevokedKeys.parse(_krl(_certificates(b"" if anybody else RSA, *parts)))
    assert all(found.has(KEY, certificate(serial)) for serial in serials)
    assert found.has(KEY, certificate(other)) is (other in serials)
    assert not found.has(KEY, certificate(0))
    assert all(found.has(KEY, certificate(serial, KEY)) is anybody for serial in list(serials)[:3])


@given(sections(), st.integers(0, 400))
def test_a_krl_that_is_cut_short_is_none(
    made: tuple[set[int], list[tuple[int, bytes]]], cut: int
) -> None:
    """A write that is under way must not be read as fewer revoked keys; at the end of a section alone that cannot be seen."""
    data = _krl(_certificates(RSA, *made[1]))
    header = len(_krl())
    if not header < cut < len(data):
        return
    with pytest.raises(KeyFormatError):
        RevokedKeys.parse(data[:cut])


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    fuzz_one(data)
    fuzz_one(_krl() + data)
