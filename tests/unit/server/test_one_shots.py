"""What is said once while output is skipped."""

from __future__ import annotations

from qsh.server.one_shots import MAX_NOTICES, MAX_SIZE, OneShots


def test_the_newest_bell_and_clipboard_and_the_last_notices_are_kept() -> None:
    shots = OneShots()
    notices = [("notify", at, b"n%d" % at) for at in range(MAX_NOTICES + 2)]
    assert not shots.keep([("bell", 0, b"\a"), ("bell", 1, b"\a"), ("clipboard", 2, b"old")])
    assert not shots.keep([("clipboard", 3, b"new"), *notices, ("graphics", 4, b"picture")])
    assert shots.take() == [b"\a", b"new", *(data for _, _, data in notices[-MAX_NOTICES:])]
    assert shots.take() == []


def test_history_that_was_cleared_is_told() -> None:
    shots = OneShots()
    assert shots.keep([("clear-history", 0, b"\x1b[3J")])
    assert shots.take() == [b"\x1b[3J"]


def test_what_is_too_large_is_left_out() -> None:
    shots = OneShots()
    shots.keep([("clipboard", 0, b"small"), ("clipboard", 1, b"x" * (MAX_SIZE + 1))])
    assert shots.take() == [b"small"]
