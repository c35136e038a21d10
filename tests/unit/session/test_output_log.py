"""What a terminal put out, by offset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.session.output_log import OutputLog


@given(
    st.lists(st.binary(max_size=60_000), max_size=30), st.integers(0, 1 << 20), st.integers(0, 99)
)
def test_the_log_gives_back_what_it_was_given(parts: list[bytes], at: int, length: int) -> None:
    log = OutputLog(100_000)
    for part in parts:
        log.append(part)
    whole = b"".join(parts)
    assert log.end == len(whole)
    assert log.start == max(0, len(whole) - 100_000)
    offset = log.start + at % (log.end - log.start + 1)
    assert log.read(offset, length) == whole[offset : offset + length]
    assert log.read(log.start, 1 << 20) == whole[log.start :]


@pytest.mark.parametrize("offset", [0, 9, 31])
def test_what_is_gone_or_to_come_cannot_be_read(offset: int) -> None:
    log = OutputLog(20)
    log.append(bytes(30))
    with pytest.raises(ValueError, match="holds 10 to 30"):
        log.read(offset, 1)


def test_an_empty_log_holds_nothing_and_a_full_one_not_much_more_than_its_size() -> None:
    log = OutputLog(100_000)
    assert log._blocks == type(log._blocks)()
    for _ in range(50_000):
        log.append(bytes(7))
    held = sum(len(block) for block in log._blocks) + len(log._tail)
    assert 100_000 <= held < 140_000
