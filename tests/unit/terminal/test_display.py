"""What reaches the user's terminal: every byte once, in order, and nothing of the overlay left."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.terminal.display import HOLD_S, Display
from tests.unit.terminal.fake_screen import FakeScreen

TEXT = st.lists(
    st.sampled_from([b"a", b"word ", b"\r\n", b"\x08", b"\x1b[2;3H", b"\x1b[31m", b"\x1b[?2026h", b"\x1b[?2026l",
                     b"\x1b[2J", b"\x1b[4h", b"\x1b[4l", b"xxxxxxxxxxxxxxxxxxxxxxx"]),
    max_size=30,
).map(b"".join)  # fmt: skip


class Guess(NamedTuple):
    cells: tuple[tuple[int, int, str, int, bool], ...]
    cursor: tuple[int, int] | None


class FakePredictor:
    """Draws one cell right of the cursor whenever it may."""

    def __init__(self, screen: FakeScreen) -> None:
        self.screen = screen
        self.on = True
        self.states: list[tuple[int, int, Any]] = []

    def typed(self, data: bytes, offset: int, now: float) -> None:
        self.on = True

    def state(self, settled: int, tty: Any, now: float, *, applied: int) -> None:
        self.states.append((applied, settled, tty))

    def screen_changed(self, now: float) -> None: ...
    def resized(self, now: float) -> None: ...
    def rtt(self, rtt_s: float) -> None: ...
    def deadline(self) -> float | None:
        return None

    def overlay(self, now: float) -> Guess:
        row, col, _, _ = self.screen.cursor
        if not self.on or col + 1 >= self.screen.cols:
            return Guess((), None)
        return Guess(((row, col, "G", 0, True),), (row, col + 1))


def make(*, predicting: bool = True, placed: bool = True) -> tuple[Display, FakeScreen, Any]:
    screen = FakeScreen()
    predictor = FakePredictor(screen) if predicting else None
    display = Display(screen, predictor)  # type: ignore[arg-type]
    if placed:
        display.locate(0, 0, 0.0)
    return display, screen, predictor


def pieces(data: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [(a, data[a:b]) for a, b in pairwise(marks)]


@given(
    data=st.binary(max_size=200),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
    copies=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 60), st.integers(0, 12)), max_size=30),
)  # fmt: skip
def test_any_copies_give_the_exact_stream(
    data: bytes, cuts: list[int], copies: list[tuple[int, int, int]]
) -> None:
    """Datagrams are any ranges, lost, doubled, out of order; the stream is contiguous and late."""
    display = Display(None)
    shown = b""
    stream = pieces(data, cuts)
    for turn, (offset, part) in enumerate(stream):
        for start, size, when in copies:
            if when == turn:
                at = start % (len(data) + 1)
                shown += display.output(at, data[at : at + size], 0.0)
                assert data.startswith(shown)
        shown += display.output(offset, part, 0.0)
    assert shown == data
    assert display.position == len(data)


@given(data=TEXT, cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_without_overlay_the_bytes_are_the_servers(data: bytes, cuts: list[int]) -> None:
    display, _, _ = make(predicting=False)
    parts = pieces(data, cuts)
    assert [display.output(offset, part, 0.0) for offset, part in parts] == [p for _, p in parts]


@given(
    data=TEXT,
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
    events=st.lists(st.sampled_from(["notice", "none", "late", "guess", "quiet"]), max_size=12),
)
def test_the_overlay_leaves_no_trace(data: bytes, cuts: list[int], events: list[str]) -> None:
    display, model, predictor = make()
    terminal, plain = FakeScreen(), FakeScreen()
    now = 0.0
    for number, (offset, part) in enumerate(pieces(data, cuts)):
        terminal.feed(display.output(offset, part, now))
        event = events[number] if number < len(events) else ""
        if event in ("notice", "none"):
            terminal.feed(display.notice("lost" if event == "notice" else None, now))
        elif event == "late":
            now += HOLD_S
            terminal.feed(display.expire(now))
        elif event:
            predictor.on = event == "guess"
            terminal.feed(display.refresh(now))
    terminal.feed(display.clear())
    plain.feed(data)
    assert terminal.text == plain.text == model.text
    assert terminal.cursor == plain.cursor
    assert terminal.modes == plain.modes


def test_a_guess_is_drawn_and_moves_with_the_output() -> None:
    display, _, _ = make()
    terminal = FakeScreen()
    terminal.feed(display.output(0, b"ab", 0.0))
    assert terminal.text[0].rstrip() == "abG"
    terminal.feed(display.output(2, b"c", 0.0))
    assert terminal.text[0].rstrip() == "abcG"
    assert terminal.cursor[:2] == (0, 4)


def test_an_unfinished_sequence_waits_while_there_is_an_overlay() -> None:
    display, _, _ = make()
    first = display.output(0, b"ab\x1b[3", 0.0)
    assert b"\x1b[3" not in first.replace(b"\x1b[3;", b"")
    assert display.held == b"\x1b[3"
    assert display.deadline == pytest.approx(HOLD_S)
    assert b"\x1b[31mc" in display.output(5, b"1mc", 0.01)
    assert display.held == b""


def test_it_waits_no_longer_than_that() -> None:
    display, _, _ = make()
    display.output(0, b"ab\x1b[3", 1.0)
    assert display.expire(1.0 + HOLD_S / 2) == b""
    late = display.expire(1.0 + HOLD_S)
    assert late.endswith(b"\x1b[3")
    assert display.output(5, b"1m", 1.1).startswith(b"1m")


def test_without_overlay_nothing_waits() -> None:
    display, _, _ = make(predicting=False)
    assert display.output(0, b"ab\x1b[3", 0.0) == b"ab\x1b[3"
    assert display.deadline is None


@pytest.mark.parametrize("mode", [b"\x1b[4h", b"\x1b[?2026h"])
def test_nothing_is_drawn_where_it_would_do_harm(mode: bytes) -> None:
    display, _, _ = make()
    terminal = FakeScreen()
    terminal.feed(display.output(0, b"ab" + mode, 0.0))
    assert "G" not in terminal.text[0]


def test_nothing_is_drawn_before_the_terminal_says_where_it_stands() -> None:
    display, _, predictor = make(placed=False)
    assert display.output(0, b"motd\r\n$ ", 0.0) == b"motd\r\n$ "
    assert display.typed(b"l", 0, 0.0) == b""
    terminal = FakeScreen()
    terminal.feed(b"\x1b[4;1Hmotd\r\n$ ")
    predictor.on = True
    terminal.feed(display.locate(3, 0, 0.0))
    assert terminal.text[4].rstrip() == "$ G"


def test_locating_keeps_an_open_sequence_open() -> None:
    display, model, _ = make(placed=False, predicting=False)
    display.output(0, b"a\x1b[", 0.0)
    display.locate(2, 0, 0.0)
    assert (model.offset, model.boundary) == (3, 1)
    display.output(3, b"31mb", 0.0)
    assert model.text[2].rstrip() == "ab"


def test_the_notice_covers_only_rows_that_are_known() -> None:
    display, _, _ = make(placed=False, predicting=False)
    terminal = FakeScreen()
    terminal.feed(b"before\r\n" * 3 + b"$ ")
    before = terminal.text
    display.output(0, b"$ ", 0.0)
    display.locate(3, 0, 0.0)
    terminal.feed(display.notice("lost", 0.0))
    where = [row for row, text in enumerate(terminal.text) if text.startswith("lost")]
    assert len(where) == 1
    assert where[0] > 3, "neither over what nobody knows nor over the line that is being typed"
    terminal.feed(display.notice(None, 1.0))
    assert terminal.text == before
    assert terminal.cursor[:2] == (3, 2)


def test_a_notice_on_an_unknown_screen_asks_for_a_painting() -> None:
    display, _, _ = make(placed=False, predicting=False)
    assert b"lost" in display.notice("lost", 0.0)
    assert not display.needs_painting
    display.notice(None, 1.0)
    assert display.needs_painting


def test_a_difference_is_not_trusted_before_a_painting() -> None:
    display, _, _ = make()
    display.output(0, b"abc", 0.0)
    display.frame(10, b"\x1b[1;1Hxyz", 0.0)
    assert display.needs_painting
    display.needs_painting = False
    display.frame(20, b"\x18\x1b[1;1Hall", 0.0)
    display.frame(30, b"\x1b[1;1Hxyz", 0.0)
    assert not display.needs_painting


def test_a_frame_replaces_a_range() -> None:
    display, model, _ = make()
    display.output(0, b"abc", 0.0)
    display.frame(1000, b"\x18\x1b[2J\x1b[1;1Hnew", 0.0)
    assert (display.position, model.offset) == (1000, 1000)
    assert display.output(500, b"x" * 500, 0.0) == b""
    assert b"!" in display.output(1000, b"!", 0.0)


def test_words_wait_for_their_output() -> None:
    display, _, predictor = make()
    display.told(5, 3, 2, None)
    display.refresh(0.0)
    assert predictor.states == []
    display.output(0, b"hello", 0.0)
    assert predictor.states == [(3, 2, None)]
    display.told(5, 1, 1, None)
    display.refresh(0.0)
    assert predictor.states[-1] == (3, 2, None)


def test_a_resize_with_an_overlay_asks_for_a_painting() -> None:
    display, _, predictor = make()
    display.output(0, b"a", 0.0)
    assert display.resized(10, 30, 0.0)
    predictor.on = False
    display.refresh(0.0)
    assert not display.resized(6, 20, 0.0)


def test_a_painting_that_output_has_overtaken_is_dropped() -> None:
    """It was asked for, and took nothing's place; datagrams brought what came after it. Going back would print that twice."""
    display = Display(None)
    assert display.output(0, b"one\r\n", 0.0) == b"one\r\n"
    assert display.output(5, b"two\r\n", 0.0) == b"two\r\n"
    assert display.frame(5, b"\x18\x1b[H\x1b[Jone\r\n", 0.0) == b""
    assert display.position == 10
    assert display.needs_painting, "it is still not known what the terminal shows"
    assert display.output(5, b"two\r\nthree", 0.0) == b"three"
