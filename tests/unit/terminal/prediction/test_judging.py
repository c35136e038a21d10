"""Which guesses came true."""

from __future__ import annotations

import pytest

from qsh.terminal.prediction.guesses import Effect, Guess
from qsh.terminal.prediction.judging import judged, replaced
from qsh.terminal.prediction.keys import TEXT, Key
from qsh.terminal.screen import Screen


def guesses(text: str, *, base: int = 0) -> list[Guess]:
    """Characters that are put behind each other from place ``base`` on."""
    found = []
    for at, char in enumerate(text):
        guess = Guess(Key(TEXT, char, at + 1), 0.0)
        guess.effect = Effect({base + at: (char, -1)}, base + at + 1)
        found.append(guess)
    return found


def screen(output: bytes) -> Screen:
    made = Screen(4, 20)
    made.feed(output)
    return made


def test_what_the_screen_shows_is_right() -> None:
    assert judged(screen(b"ab"), guesses("ab"), 2, 2) == [True, True]


def test_later_keys_may_be_there_already() -> None:
    keys = guesses("abcd")
    assert judged(screen(b"abc"), keys, 2, 3) == [True, True]
    assert judged(screen(b"abc"), keys, 2, 2) == [
        True,
        False,
    ]  # c was not applied: it is a coincidence
    assert judged(screen(b"abc"), keys, 2, None) == [True, True]


@pytest.mark.parametrize(
    ("output", "right"),
    [(b"xb", [False, True]), (b"ax", [True, False]), (b"xy", [False, False])],
)
def test_the_wrong_ones_are_found_by_their_cells(output: bytes, right: list[bool]) -> None:
    assert judged(screen(output), guesses("ab"), 2, 2) == right


def test_if_only_the_cursor_is_wrong_the_last_key_is() -> None:
    assert judged(screen(b"ab\b"), guesses("ab"), 2, 2) == [True, False]


def test_a_cell_that_a_later_key_changed_is_judged_there() -> None:
    first, second = guesses("a")[0], guesses("b")[0]
    assert judged(screen(b"c"), [first, second], 2, 2) == [True, False]


@pytest.mark.parametrize(
    ("output", "is_replaced"), [(b"xb\r\x1b[C", True), (b"xab\r\x1b[C", True), (b"a", False)]
)
def test_a_program_that_overwrites(output: bytes, is_replaced: bool) -> None:
    guess = Guess(Key(TEXT, "x", 1), 0.0)
    guess.effect = Effect({0: ("x", -1), 1: ("a", -1), 2: ("b", -1)}, 1)
    assert replaced(screen(output), guess) is is_replaced


def test_what_pushes_nothing_on_replaces_nothing() -> None:
    assert not replaced(screen(b"a"), guesses("a")[0])
