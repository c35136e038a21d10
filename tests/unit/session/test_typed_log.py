"""Typed bytes are kept until acknowledged, and can be sent again from any offset in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.errors import RemoteProtocolError
from qsh.session.typed_log import TypedLog


@given(st.lists(st.one_of(st.binary(max_size=8), st.floats(0, 1)), max_size=30))
def test_what_is_kept(steps: list[bytes | float]) -> None:
    log, all_bytes, acknowledged = TypedLog(), b"", 0
    for step in steps:
        if isinstance(step, bytes):
            assert log.append(step) == len(all_bytes)
            all_bytes += step
        else:
            offset = int(step * len(all_bytes))
            assert log.acknowledged(offset) == (offset > acknowledged)
            acknowledged = max(acknowledged, offset)
        assert (log.start, log.end) == (acknowledged, len(all_bytes))
        assert len(log) == len(all_bytes) - acknowledged
        assert log.since(acknowledged) == all_bytes[acknowledged:]


def test_a_host_that_knows_more_than_was_typed() -> None:
    log = TypedLog()
    log.append(b"abc")
    for call in (log.acknowledged, log.since):
        with pytest.raises(RemoteProtocolError, match="input-ahead"):
            call(4)


def test_a_host_that_has_lost_what_it_acknowledged() -> None:
    log = TypedLog()
    log.append(b"abc")
    log.acknowledged(2)
    with pytest.raises(RemoteProtocolError, match="input-gap"):
        log.since(1)
