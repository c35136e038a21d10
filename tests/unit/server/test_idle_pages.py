"""When memory is given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.server.idle_pages import QUIET_S, RETURN_S, IdlePages

if TYPE_CHECKING:
    from collections.abc import Callable


def counting(given: list[int]) -> Callable[[], int]:
    """A ``give_back`` that notes its calls."""

    def give_back() -> int:
        given.append(1)
        return 1

    return give_back


def test_once_after_what_was_typed_or_shown() -> None:
    given: list[int] = []
    pages = IdlePages(counting(given))
    assert pages.deadline is None
    pages.touched(10.0, traffic=1.0)
    pages.touched(12.0, traffic=1.0)  # a client asks whether the path is there
    assert pages.deadline == 10.0 + QUIET_S
    pages.expire(12.9)
    assert not given
    pages.expire(13.0)
    assert given == [1]


def test_once_more_when_all_is_silent() -> None:
    given: list[int] = []
    pages = IdlePages(counting(given))
    pages.touched(10.0, traffic=1.0)
    pages.expire(13.0)
    pages.touched(13.5, traffic=1.0)
    pages.touched(14.5, traffic=1.0)
    pages.expire(16.6)
    assert given == [1]
    pages.expire(17.5)
    assert given == [1, 1]
    assert pages.deadline is None


def test_later_when_the_front_has_ended() -> None:
    """All clients come back at once, and each key of theirs would find the pages gone."""
    given: list[int] = []
    pages = IdlePages(counting(given))
    pages.touched(10.0, traffic=1.0)
    pages.front_lost(11.0)
    assert pages.deadline == 11.0 + RETURN_S
    pages.expire(13.0)
    assert not given
    pages.expire(11.0 + RETURN_S)
    assert given == [1]


def test_who_types_on_pays_nothing() -> None:
    given: list[int] = []
    pages = IdlePages(counting(given))
    for second in range(100):
        pages.touched(float(second), traffic=float(second))
        pages.expire(float(second))
    assert not given


def test_a_system_without_it() -> None:
    def fail() -> int:
        raise OSError("no page map")

    pages = IdlePages(fail)
    pages.touched(1.0, traffic=1.0)
    pages.expire(10.0)
    assert pages.deadline is None
