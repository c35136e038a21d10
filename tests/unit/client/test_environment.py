"""SendEnv and SetEnv (ssh_config(5))."""

from __future__ import annotations

from qsh.client.environment import to_send

HERE = {"LANG": "C", "LC_ALL": "x", "LC_TIME": "y", "SECRET": "z", "LC_BAD": "\udcff"}


def test_patterns() -> None:
    assert to_send(["LANG", "LC_*"], [], HERE) == {"LANG": "C", "LC_ALL": "x", "LC_TIME": "y"}


def test_taking_out_again() -> None:
    assert to_send(["LC_*", "-LC_T*"], [], HERE) == {"LC_ALL": "x"}


def test_set_wins() -> None:
    assert to_send(["LANG"], [("LANG", "de"), ("N", "")], HERE) == {"LANG": "de", "N": ""}


def test_what_does_not_fit_stays_here() -> None:
    assert to_send(["*"], [], {"A": "x" * 20_000, "B" * 300: "x", "C": "c"}) == {"C": "c"}
