"""Recordings played: what is shown when, with a clock of the test's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.terminal.asciicast import Event, Header
from qsh.terminal.picture import Picture, shown
from qsh.terminal.playback import MAX_SPEED, MIN_SPEED, Playback
from qsh.terminal.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = [
    Event(1.0, "o", "a"),
    Event(2.0, "i", "never shown"),
    Event(2.0, "o", "b"),
    Event(102.0, "o", "c"),
    Event(103.0, "r", "20x5"),
    Event(103.0, "x", "of another program's"),
]


def playback(now: float = 50.0, **options: float) -> Playback:
    return Playback(Header(10, 3), lambda: iter(EVENTS), now, **options)


def row(played: Playback) -> str:
    return played.screen.row_text(0)


def test_in_time() -> None:
    played = playback()
    assert played.deadline(50.0) == 51.0
    assert not played.advance(50.9)
    assert played.advance(51.0)
    assert (row(played), played.position_s) == ("a", 1.0)
    assert played.advance(60.0)
    assert (row(played), played.deadline(60.0)) == ("ab", 152.0)
    assert played.advance(200.0)
    assert (row(played), played.screen.rows, played.screen.cols) == ("abc", 5, 20)
    assert played.finished
    assert played.deadline(200.0) is None
    assert not played.advance(300.0)


def test_silence_is_bounded() -> None:
    played = playback(max_idle_s=3.0)
    played.advance(52.0)
    assert played.deadline(52.0) == 55.0
    played.advance(55.0)
    assert (row(played), played.position_s) == ("abc", 102.0)


def test_speed_and_pause() -> None:
    played = playback(speed=2.0)
    assert played.deadline(50.0) == 50.5
    played.advance(50.5)
    played.pause(50.5)
    assert played.deadline(60.0) is None
    assert not played.advance(60.0)
    played.pause(60.0)
    assert played.deadline(60.0) == 60.5
    played.set_speed(60.25, 1.0)
    assert played.deadline(60.25) == 60.75
    for speed, expected in ((1e9, MAX_SPEED), (0.0, MIN_SPEED)):
        played.set_speed(60.25, speed)
        assert played.speed == expected


def test_skips() -> None:
    played = playback()
    played.skip(50.0, 5.0)
    played.advance(50.0)
    assert (row(played), played.deadline(50.0)) == ("ab", 147.0)
    played.skip(50.0, -3.5)
    played.advance(50.0)
    assert (row(played), played.deadline(50.0)) == ("a", 50.5)
    played.skip(50.0, -100.0)
    played.advance(50.0)
    assert (row(played), played.deadline(50.0)) == ("", 51.0)


def test_a_skip_while_paused_is_shown() -> None:
    played = playback()
    played.pause(50.0)
    played.skip(50.0, 1.5)
    assert played.deadline(50.0) == 50.0
    assert played.advance(50.0)
    assert row(played) == "a"
    assert played.deadline(50.0) is None


def test_from_a_time_on() -> None:
    played = playback(max_idle_s=3.0)
    played.go_to(50.0, 2.5)
    assert (row(played), played.deadline(50.0)) == ("ab", 52.5)
    played.go_to(50.0, float("inf"))
    assert played.finished


def test_only_what_is_due_is_read() -> None:
    read = 0

    def events() -> Iterator[Event]:
        nonlocal read
        for number in range(1_000_000):
            read += 1
            yield Event(float(number), "o", "x")

    played = Playback(Header(10, 3), events, 0.0)
    played.advance(5.0)
    assert read == 7


def painted(picture: Picture, screen: Screen, line: str, view: Screen) -> bytes:
    data = picture.paint(screen, line)
    view.feed(data)
    return data


def test_a_picture_is_the_screen_and_a_line() -> None:
    screen, picture, view = Screen(4, 12), Picture(5, 14), Screen(5, 14)
    for text in (
        "one\r\n\x1b[1;31mtwo\x1b[m wide \u6f22\u5b57",
        "\x1b[2;5H!!",
        "\x1b[2J\x1b[Hgone",
    ):
        screen.feed(text.encode())
        painted(picture, screen, "status", view)
        for at in range(4):
            assert view.row_text(at) == screen.row_text(at)
            assert view.row_cells(at)[:12] == screen.row_cells(at)
        assert view.row_text(4).strip() == "status"
        assert view.cursor[:2] == screen.cursor[:2]
    assert picture.paint(screen, "status").count(b"gone") == 0, "nothing differs"


def test_of_a_large_screen_the_cursor_is_shown() -> None:
    screen, view = Screen(20, 40), Screen(5, 10)
    screen.feed(b"\r\n".join(b"row %d and a long rest" % number for number in range(18)))
    painted(Picture(5, 10), screen, "status", view)
    assert [view.row_text(at).strip() for at in (0, 3)] == ["row 14 and", "row 17 and"]
    screen.feed(b"\x1b[1;9H\xe6\xbc\xa2\x1b[1;10H\xe5\xad\x97")
    picture = Picture(5, 10)
    painted(picture, screen, "", Screen(5, 10))


@pytest.mark.parametrize(
    "harm",
    [
        "\x1b]2;title\x07",
        "\x1b]52;c;aGk=\x07",
        "\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\",
        "\x1b]4;1;#ff0000\x07\x1b]11;#00ff00\x07",
        "\x1b[?1000h\x1b[?1006h\x1b[?2004h\x1b[?1004h",
        "\x1b[>1u\x1b[>4;2m\x1b[?1h\x1b=",
        "\x1b[c\x1b[6n\x1b[>q",
        "\x1bP$qm\x1b\\\x1b_Gi=1;AAAA\x1b\\",
        "\x07\x1b[?5h\x1b[3 q\x1b(0",
        "\x1b[2;3r\x1b[?6h\x1b[4h\x1b[?7l",
    ],
)
def test_nothing_but_cells_reaches_the_window(harm: str) -> None:
    """The painting is understood by a model that has no modes, title or links: only text, colours and moves are in it."""
    screen, picture = Screen(4, 20), Picture(5, 20)
    screen.feed(harm.encode() + b"text \x1b[7mhere")
    data = picture.paint(screen, "s")
    assert b"\x1b]" not in data
    assert b"\x1bP" not in data
    assert b"\x1b_" not in data
    view = Screen(5, 20)
    events = view.feed(data)
    assert not events
    plain = Screen(5, 20)
    assert (view.title, view.modes) == ("", plain.modes)


def test_what_turns_text_round_is_left_out() -> None:
    assert shown("a\u202eb\u2066c\x07") == "abc"
    assert shown("\U0001f468\u200d\U0001f469") == "\U0001f468\u200d\U0001f469"
