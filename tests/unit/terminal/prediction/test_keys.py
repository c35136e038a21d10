"""Typed bytes to keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.terminal.prediction.keys import Key, KeyReader


def kinds(*reads: bytes) -> list[tuple[str, str]]:
    reader, offset, found = KeyReader(), 0, []
    for data in reads:
        found += reader.read(data, offset)
        offset += len(data)
    return [key[:2] for key in found]


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"a", "text", "a"),
        ("漢".encode(), "text", "漢"),
        (b"\r", "control", "\r"),
        (b"\x7f", "control", "\x7f"),
        (b"\x1b[D", "left", ""),
        (b"\x1bOC", "right", ""),
        (b"\x1b[1~", "home", ""),
        (b"\x1b[F", "end", ""),
        (b"\x1b[3~", "delete", ""),
        (b"\x1bb", "word-left", ""),
        (b"\x1bf", "word-right", ""),
        (b"\x1b[A", "function", ""),
        (b"\x1b[1;5C", "function", ""),
        (b"\x1bx", "escape", ""),
        (b"\x1b", "escape", ""),
        (b"\xff", "escape", ""),
        (b"\x1b[12;3R", "reply", ""),
        (b"\x1b[?64;1c", "reply", ""),
        (b"\x1b[I", "reply", ""),
        (b"\x1b]11;rgb:0/0/0\x1b\\", "reply", ""),
        (b"\x1bP>|term\x1b\\", "reply", ""),
        (b"\x1b[200~x\x1b[201~", "paste", ""),
        (b"x" * 65, "paste", ""),
    ],
)
def test_one_key(data: bytes, kind: str, text: str) -> None:
    assert KeyReader().read(data, 7) == [Key(kind, text, 7 + len(data))]


def test_several_keys_have_their_own_ends() -> None:
    found = KeyReader().read(b"a\x1b[Db", 10)
    assert found == [Key("text", "a", 11), Key("left", "", 14), Key("text", "b", 15)]


@pytest.mark.parametrize("data", ["漢".encode(), b"\x1b[3~", b"\x1b]11;x\x07"])
def test_a_key_may_come_in_pieces(data: bytes) -> None:
    for at in range(2, len(data)):
        assert kinds(data[:at], data[at:]) == kinds(data)


def test_a_lone_escape_acts_at_once() -> None:
    assert kinds(b"\x1b", b"[D") == [("escape", ""), ("left", "")]


def test_a_paste_in_pieces_stays_one() -> None:
    assert kinds(b"\x1b[200~abc", b"d\r", b"e\x1b[201~", b"f") == [
        ("paste", ""),
        ("paste", ""),
        ("paste", ""),
        ("text", "f"),
    ]


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_ends_never_go_back(reads: list[bytes]) -> None:
    reader, offset, end = KeyReader(), 0, 0
    for data in reads:
        for key in reader.read(data, offset):
            assert end <= key.end <= offset + len(data)
            end = key.end
        offset += len(data)
