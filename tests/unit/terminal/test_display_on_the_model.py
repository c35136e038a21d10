"""The overlay on the real model: a terminal that saw drawing and undrawing ends as one that never did."""

from __future__ import annotations

import random

import pytest

from qsh.terminal.display import Display
from qsh.terminal.screen import Screen
from tests.unit.terminal.test_display import FakePredictor, Guess

ROWS, COLS = 6, 20
TOKENS = [
    *(b"a", "é世".encode(), b"word ", b"\r\n", b"\x08", b"\t", b"x" * 25, b"\x1b[2;3H", b"\x1b[K", b"\x1b[2J"),
    *(b"\x1b[31m", b"\x1b[7m", b"\x1b[m", b"\x1b]0;t\x07", b"\x1b]8;;http://x\x1b\\", b"\x1b(0", b"\x1b(B"),
    *(b"\x1b[?2026h", b"\x1b[?2026l", b"\x1b[4h", b"\x1b[4l", b"\x1b[?1049h", b"\x1b[?1049l"),
    *(b"\x1b[2;4r", b"\x1b[r", b"\x1b[?6h", b"\x1b[?6l"),
]  # fmt: skip


class WidePredictor(FakePredictor):
    """A narrow cell and a wide one."""

    def overlay(self, now: float) -> Guess:
        row, col, _, _ = self.screen.cursor
        if not self.on or col + 3 >= self.screen.cols:
            return Guess((), None)
        return Guess(((row, col, "G", -1, True), (row, col + 1, "世", -1, False)), (row, col + 3))


def state(screen: Screen) -> object:
    return [screen.row_cells(row) for row in range(ROWS)], screen.cursor, screen.modes


@pytest.mark.parametrize("seed", range(100))
def test_no_trace(seed: int) -> None:
    dice = random.Random(seed)
    data = b"".join(dice.choice(TOKENS) for _ in range(dice.randrange(30)))
    model, terminal, plain = (Screen(ROWS, COLS) for _ in range(3))
    predictor = WidePredictor(model)  # type: ignore[arg-type]
    display = Display(model, predictor)  # type: ignore[arg-type]
    display.locate(0, 0, 0.0)
    now, at = 0.0, 0
    while at < len(data):
        part = data[at : at + dice.randrange(1, 9)]
        terminal.feed(display.output(at, part, now))
        at += len(part)
        match dice.randrange(6):
            case 0:
                terminal.feed(display.notice("lost", now))
            case 1:
                terminal.feed(display.notice(None, now))
            case 2:
                now += 1.0
                terminal.feed(display.expire(now))
            case 3:
                predictor.on = not predictor.on
                terminal.feed(display.refresh(now))
    terminal.feed(display.clear())
    plain.feed(data)
    assert state(terminal) == state(plain) == state(model)


class GrowingPredictor(FakePredictor):
    """Shows the beginning of a text, as far as it was typed."""

    text = ""

    def overlay(self, now: float) -> Guess:
        row, col, _, _ = self.screen.cursor
        cells = [(row, col + at, char, -1, False) for at, char in enumerate(self.text)]
        return Guess(tuple(cells), (row, col + len(cells)))


def test_another_key_draws_only_what_it_adds() -> None:
    model, terminal, at_once = (Screen(ROWS, COLS) for _ in range(3))
    predictor = GrowingPredictor(model)  # type: ignore[arg-type]
    display = Display(model, predictor)  # type: ignore[arg-type]
    display.locate(0, 0, 0.0)
    for screen in (terminal, at_once):
        screen.feed(b"$ ")
    display.output(0, b"$ ", 0.0)
    for size in range(1, 4):
        predictor.text = "xyz"[:size]
        drawn = display.refresh(0.0)
        assert [char for char in b"xyz" if char in drawn] == [ord("xyz"[size - 1])]
        terminal.feed(drawn)
    at_once.feed(b"xyz")
    assert state(terminal) == state(at_once)
    terminal.feed(display.clear())
    assert state(terminal) == state(model)
