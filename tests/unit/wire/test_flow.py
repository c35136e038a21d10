"""The number in front of a datagram (RFC 9000 16, A.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.wire.flow import prefix, split


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (37, "25"),
        (15293, "7bbd"),
        (494878333, "9d7f3e7d"),
        (151288809941952652, "c2197c5eff14e88c"),
    ],
)
def test_the_examples_of_the_rfc(number: int, encoded: str) -> None:
    assert prefix(number).hex() == encoded
    assert split(bytes.fromhex(encoded) + b"rest") == (number, b"rest")


@given(st.integers(0, 2**62 - 1), st.binary(max_size=8))
def test_round_trip(number: int, rest: bytes) -> None:
    assert split(prefix(number) + rest) == (number, rest)


@pytest.mark.parametrize("data", [b"", b"\x40", b"\x80\0\0", b"\xc0"])
def test_a_number_that_is_cut_off(data: bytes) -> None:
    assert split(data) is None


def test_no_such_number() -> None:
    with pytest.raises(ValueError, match="no flow"):
        prefix(1 << 62)
