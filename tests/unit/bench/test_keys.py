"""What is counted as shown, wrong and missing."""

from __future__ import annotations

from bench.keys import Found, RawWatch, ShellWatch
from bench.typing_script import Key, script


def typed(found: Found, *lines: str) -> ShellWatch:
    """A line whose key number n, from 0, was pressed n seconds after 0."""
    watch = ShellWatch(found)
    for at, line in enumerate(lines):
        watch.typed(Key(b"?", line), float(at))
    return watch


def test_a_key_that_shows_later_ones_shows_those_before_it() -> None:
    found = Found()
    watch = typed(found, "a", "ab", "abc")
    watch.look("ab", 5.0)
    assert found.ms == [5000.0, 4000.0]
    assert watch.pending == 1
    assert found.wrong == 0


def test_a_correction_counts_once_its_mistake_was_seen() -> None:
    found = Found()
    watch = typed(found, "a", "aq", "a", "ab")
    watch.look("a", 10.0)
    assert watch.pending == 3
    watch.look("aq", 11.0)
    watch.look("a", 12.0)
    assert watch.pending == 1
    assert found.ms == [10_000.0, 10_000.0, 10_000.0]


def test_what_was_never_typed_or_is_taken_back_is_wrong_once() -> None:
    found = Found()
    watch = typed(found, "a", "ab")
    for line in ("ab", "abx", "abx", "ab", "a", "ab"):
        watch.look(line, 3.0)
    assert found.wrong == 2
    assert watch.pending == 0


def test_answers_count_and_a_drawn_key_is_wrong() -> None:
    found = Found()
    watch = RawWatch(found)
    watch.typed(1.0)
    watch.typed(2.0)
    watch.look(["<0>", "", "h"], 2.5)
    watch.look(["<0>", "<1>", ""], 3.0)
    assert (found.ms, found.wrong, watch.pending) == ([2000.0], 1, 1)


def test_a_script_ends_up_with_what_its_keys_say() -> None:
    for line in script(500, typos=0.2, seed=3):
        text = ""
        for key in line:
            text = text[:-1] if key.data == b"\x7f" else text + key.data.decode()
            assert key.line == text.rstrip()
    assert script(50) == script(50)
