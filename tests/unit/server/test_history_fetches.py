"""History that is fetched in parts."""

from __future__ import annotations

from typing import Any, cast

import pytest

from qsh.errors import RemoteProtocolError
from qsh.server.history_fetches import MAX_FETCHES, PART_BYTES, HistoryFetches
from qsh.wire.terminal import MAX_DATA, FetchHistory


class FakeScreen:
    """``count`` lines of ``size`` bytes, the first of which are gone."""

    def __init__(self, count: int, size: int, gone: int = 0) -> None:
        self.history_first, self.history_end, self._size = gone, count, size

    def history(self, first: int, end: int, *, max_bytes: int) -> list[tuple[bytes, bool]]:
        lines = [(b"%d" % number).ljust(self._size, b".") for number in range(first, end)]
        return [(line, False) for line in lines[: max(1, max_bytes // self._size)]]


def fetched(fetches: HistoryFetches, screen: FakeScreen) -> list[Any]:
    parts = []
    while fetches:
        parts.append(fetches.next_part(cast("Any", screen)))
    return parts


def test_little_comes_at_once() -> None:
    fetches = HistoryFetches()
    fetches.ask(FetchHistory(7, 2, 5))
    (part,) = fetched(fetches, FakeScreen(10, 4))
    assert (part.number, part.first, part.last) == (7, 2, True)
    assert [text for text, _ in part.lines] == [b"2...", b"3...", b"4..."]


def test_much_comes_in_parts_and_one_fetch_after_the_other() -> None:
    fetches = HistoryFetches()
    fetches.ask(FetchHistory(1, 0, 10))
    fetches.ask(FetchHistory(2, 8, 9))
    parts = fetched(fetches, FakeScreen(10, PART_BYTES // 4))
    assert [(part.number, part.first, len(part.lines)) for part in parts] == [
        (1, 0, 4), (1, 4, 4), (1, 8, 2), (2, 8, 1),
    ]  # fmt: skip
    assert [part.last for part in parts] == [False, False, True, True]


def test_lines_that_are_gone_or_not_there_are_left_out() -> None:
    fetches = HistoryFetches()
    fetches.ask(FetchHistory(1, 0, 1000))
    fetches.ask(FetchHistory(2, 500, 1000))
    first, second = fetched(fetches, FakeScreen(10, 4, gone=6))
    assert (first.first, len(first.lines), first.last) == (6, 4, True)
    assert (second.lines, second.last) == ([], True)


def test_a_line_that_is_too_long_is_cut() -> None:
    fetches = HistoryFetches()
    fetches.ask(FetchHistory(1, 0, 1))
    (part,) = fetched(fetches, FakeScreen(1, MAX_DATA + 5))
    assert len(part.lines[0][0]) == MAX_DATA


def test_nobody_fetches_without_end() -> None:
    fetches = HistoryFetches()
    for number in range(MAX_FETCHES):
        fetches.ask(FetchHistory(number, 0, 1))
    with pytest.raises(RemoteProtocolError, match="too-many-fetches"):
        fetches.ask(FetchHistory(99, 0, 1))
