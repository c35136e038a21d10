"""A painting in datagrams, cut and put together."""

from __future__ import annotations

import random
import zlib

from hypothesis import given
from hypothesis import strategies as st

from qsh.session.frame_parts import FrameParts, cut
from qsh.wire.terminal import MAX_FRAME, MAX_PARTS, FramePart

NOISE = random.Random(4).randbytes(5_000)


@given(st.data(), st.binary(max_size=50))
def test_any_order_and_any_copies(data: st.DataObject, head: bytes) -> None:
    painting = head + NOISE
    parts = cut(painting, 3, 9, 1)
    order = data.draw(st.permutations(parts + parts[:2]))
    collected = FrameParts()
    found = [whole for part in order if (whole := collected.receive(part)) is not None]
    assert found == [painting]


def test_one_lost_is_all_lost_and_the_next_painting_stands_for_itself() -> None:
    first, second = cut(NOISE, 0, 1, 1), cut(NOISE[::-1], 0, 2, 2)
    collected = FrameParts()
    assert not any(collected.receive(part) for part in first[1:])
    assert [collected.receive(part) for part in second][-1] == NOISE[::-1]
    assert collected.receive(first[0]) is None


def test_every_part_tells_what_is_skipped() -> None:
    assert {(part.skipped_first, part.skipped_end) for part in cut(NOISE, 0, 1, 1, (4, 7))} == {
        (4, 7)
    }


def test_too_large_for_datagrams_is_none() -> None:
    assert cut(random.Random(5).randbytes(MAX_PARTS * 1100), 0, 1, 1) == []
    assert cut(bytes(MAX_FRAME + 1), 0, 1, 1) == []


def test_what_does_not_fit_together_is_nothing() -> None:
    bomb = zlib.compress(bytes(MAX_FRAME + 1), 9)
    assert len(bomb) < 1100
    for bad in (
        FramePart(0, 1, 1, 0, 1, b"no deflate"),
        FramePart(0, 1, 1, 0, 1, bomb),
        FramePart(0, 1, 1, 0, 1, zlib.compress(NOISE[:100])[:-5]),
        FramePart(0, 1, 1, 1, 1, b""),
    ):
        assert FrameParts().receive(bad) is None
    collected = FrameParts()
    first, other = cut(NOISE, 0, 1, 1), cut(NOISE, 0, 2, 1)
    assert collected.receive(first[0]) is None
    assert [collected.receive(part) for part in other[1:]] == [None] * (len(other) - 1)
