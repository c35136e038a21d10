"""Remote text never drives the user's terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qsh.client.text import visible, visible_lines


def test_controls_become_octal() -> None:
    assert visible("a\x1b[2Jb\x07") == "a\\033[2Jb\\007"
    assert visible("one\ntwo\t") == "one\\012two\\011"
    assert visible("\x9b31m") == "\\302\\23331m"


def test_lines_and_tabs_stay() -> None:
    assert visible_lines("Welcome\r\n\tto\x1b]0;x\x07\rhost\n") == (
        "Welcome\n\tto\\033]0;x\\007\\015host\n"
    )


def test_letters_of_all_languages_stay() -> None:
    assert visible("Grüße 日本") == "Grüße 日本"


@given(st.text())
def test_nothing_unprintable_is_left(text: str) -> None:
    assert visible(text).isprintable() or not text
    assert all(char in "\n\t" or char.isprintable() for char in visible_lines(text))
