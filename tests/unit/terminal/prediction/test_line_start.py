"""Where a line begins, behind which prompt, and when it may be drawn on."""

from __future__ import annotations

from qsh.terminal.prediction.guesses import Effect, Guess
from qsh.terminal.prediction.keys import CONTROL, FUNCTION, LEFT, TEXT, Key
from qsh.terminal.prediction.line_start import BARE_LINE_S, NEVER, QUIET_S, LineStart
from qsh.terminal.prediction.prompts import Prompt
from qsh.terminal.screen import Screen

ROWS, COLS = 6, 20


def at(output: bytes) -> tuple[Screen, LineStart, int, int, int]:
    """After ``output``: the cursor's row, column, and place."""
    screen = Screen(ROWS, COLS)
    screen.feed(output)
    row, col, _, _ = screen.cursor
    return screen, LineStart(screen), row, col, row * COLS + col


def key(kind: str, text: str, *, known: bool = True, cells: bool = True) -> Guess:
    guess = Guess(Key(kind, text, 1), 0.0)
    if known:
        guess.effect = Effect({0: (text, -1)} if cells else {}, 1)
    return guess


def test_the_floor_is_where_the_typed_columns_begin() -> None:
    _, start, row, _, place = at(b"$ ab")
    start.took_effect(key(TEXT, "a"))
    start.took_effect(key(TEXT, "漢"))
    assert start.columns_typed == 3
    start.find_floor(row, place)
    assert start.floor == place - 3


def test_other_keys_leave_the_floor_where_it_was() -> None:
    screen, start, row, _, place = at(b"$ ")
    start.find_floor(row, place)
    start.took_effect(key(TEXT, "a"))
    start.took_effect(key(LEFT, "", cells=False))
    assert start.columns_typed is None
    screen.feed(b"a\b")
    start.find_floor(0, place)
    assert start.floor == place


def test_the_floor_goes_along_when_the_line_is_drawn_anew_below() -> None:
    screen, start, row, _, place = at(b"$ ")
    start.find_floor(row, place)
    start.took_effect(key(FUNCTION, "", known=False))
    screen.feed(b"\r\na  b\r\n$ ")
    start.find_floor(2, 2 * COLS + 2)
    assert start.floor == 2 * COLS + 2


def test_the_prompt_is_what_is_left_of_the_floor() -> None:
    _, start, row, col, place = at(b"me@host ~ $ ")
    start.find_floor(row, place)
    assert start.read_prompt(row, col, lambda prompt: False)
    assert start.prompt == Prompt("a@a / $ ", 0, ("me", "host"))
    assert not start.read_prompt(row, col, lambda prompt: False)


def test_without_a_floor_a_known_prompt_at_the_cursor_is_believed() -> None:
    _, start, row, col, place = at(b"$ ")
    start.forget()
    start.find_floor(row, place)
    assert start.floor is None
    assert start.read_prompt(row, col, lambda prompt: prompt is not None)
    assert start.prompt is not None
    assert (start.floor, start.columns_typed) == (place, None)


def test_keys_that_were_typed_ahead_are_no_part_of_the_prompt() -> None:
    _, start, row, col, place = at(b"ls$ ")
    start.typed_ahead(2)
    start.columns_typed = 0
    start.find_floor(row, place)
    start.read_prompt(row, col, lambda prompt: False)
    assert start.prompt == Prompt("$ ", 0, ())


def test_behind_a_line_end_nothing_is_drawn_before_the_prompt_is_there() -> None:
    screen, start, _, col, place = at(b"$ ls")
    start.floor = place - 2
    start.heard(key(CONTROL, "\r"), 0)
    start.begin(place)
    assert (start.release_at, start.floor, start.columns_typed) == (NEVER, None, 0)
    start.hold(place, col, 5.0)  # no output yet
    assert start.release_at == NEVER
    screen.feed(b"\r\n")
    start.hold(COLS, 0, 6.0)
    assert start.release_at == 6.0 + BARE_LINE_S
    screen.feed(b"$ ")
    start.hold(COLS + 2, 2, 7.0)
    assert start.release_at == 7.0 + QUIET_S
    start.took_effect(key(TEXT, "a"))
    start.hold(COLS + 3, 3, 8.0)
    assert start.release_at == 0.0


def test_an_empty_line_at_the_bottom_ends_where_it_began() -> None:
    screen, start, _, col, place = at(b"\n" * (ROWS - 1) + b"\r$ ")
    start.floor = place
    start.heard(key(CONTROL, "\r"), 0)
    start.begin(place)
    screen.feed(b"\r\n$ ")
    start.hold(place, col, 5.0)
    assert start.release_at == 5.0 + QUIET_S
