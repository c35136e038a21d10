"""The terminal's answer is taken out of what the user types, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.terminal.origin import OriginFilter


@given(
    before=st.text("ab~.\r", max_size=5),
    after=st.text("ab~.\r", max_size=5),
    cut=st.integers(3, 12),
)
def test_the_answer_is_found_wherever_it_is_cut(before: str, after: str, cut: int) -> None:
    data = before.encode() + b"\x1b[24;7R" + after.encode()
    cut += len(before)
    origin = OriginFilter()
    assert origin.receive(data[:cut]) + origin.receive(data[cut:]) == (before + after).encode()
    assert origin.position == (23, 6)


@pytest.mark.parametrize("key", [b"\x1b", b"\x1b[", b"\x1b[A", b"\x1bOA", b"\x1b[200~"])
def test_keys_are_not_kept(key: bytes) -> None:
    assert OriginFilter().receive(key) == key


def test_only_the_first_answer_is_ours() -> None:
    origin = OriginFilter()
    assert origin.receive(b"\x1b[1;1R") == b""
    assert origin.receive(b"\x1b[2;2R") == b"\x1b[2;2R"
