"""Guesses as cells over the screen."""

from __future__ import annotations

from qsh.terminal.prediction.guesses import Effect, Guess
from qsh.terminal.prediction.keys import LEFT, TEXT, Key
from qsh.terminal.prediction.overlay import NOTHING, Overlay, overlay_of
from qsh.terminal.screen import Screen


def guess(cells: dict[int, tuple[str, int]], cursor: int, kind: str = TEXT) -> Guess:
    made = Guess(Key(kind, "", 1), 0.0)
    made.effect = Effect(cells, cursor)
    return made


def screen(output: bytes) -> Screen:
    made = Screen(4, 10)
    made.feed(output)
    return made


def test_what_is_there_already_is_not_drawn() -> None:
    found, places = overlay_of(
        screen(b"ab"), [guess({1: ("b", -1), 2: ("c", -1)}, 3)], underline=False
    )
    assert found == Overlay(((0, 2, "c", -1, False),), (0, 3))
    assert places == {2}


def test_later_guesses_replace_earlier_ones() -> None:
    keys = [guess({2: ("c", -1)}, 3), guess({2: ("d", 5)}, 3)]
    assert overlay_of(screen(b"ab"), keys, underline=False)[0].cells == ((0, 2, "d", 5, False),)


def test_blanks_are_not_underlined() -> None:
    keys = [guess({0: ("x", -1), 1: (" ", -1)}, 2)]
    assert [cell[4] for cell in overlay_of(screen(b"ab"), keys, underline=True)[0].cells] == [
        True,
        False,
    ]


def test_cells_on_two_rows() -> None:
    found, _ = overlay_of(screen(b""), [guess({9: ("x", -1), 10: ("y", -1)}, 11)], underline=False)
    assert found == Overlay(((0, 9, "x", -1, False), (1, 0, "y", -1, False)), (1, 1))


def test_the_cursor_alone_may_move() -> None:
    found, places = overlay_of(screen(b"ab"), [guess({}, 1, LEFT)], underline=False)
    assert (found, places) == (Overlay((), (0, 1)), set())


def test_a_guess_that_has_come_true_shows_nothing() -> None:
    assert overlay_of(screen(b"ab"), [guess({1: ("b", -1)}, 2)], underline=False) == (
        NOTHING,
        set(),
    )
