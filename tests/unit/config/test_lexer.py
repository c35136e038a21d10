"""Keywords and words as OpenSSH splits them."""

from __future__ import annotations

import pytest

from qsh.config.lexer import split_keyword, split_words
from qsh.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("\n", None),
        ("   \t", None),
        ("# comment", None),
        ("   # comment", None),
        ("Port 22", ("Port", "22")),
        ("Port 22\r\n", ("Port", "22")),
        ("\tPort\t22 \f\n", ("Port", "22")),
        ("Port=22", ("Port", "22")),
        ("Port = 22", ("Port", "22")),
        ("Port== 22", ("Port", "= 22")),
        ('"Port" 22', ("Port", "22")),
        ('"Port 22', None),
        ("Port", ("Port", "")),
        ("Port 2\x002", ("Port", "2")),
        ('Match exec "a = b"', ("Match", 'exec "a = b"')),
    ],
)
def test_split_keyword(line: str, expected: tuple[str, str] | None) -> None:
    assert split_keyword(line) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a b\tc", ["a", "b", "c"]),
        ('"a b" c', ["a b", "c"]),
        ("'a b'c", ["a bc"]),
        ('""', [""]),
        ("a # b", ["a"]),
        ("a#b", ["a#b"]),
        ('"#a" b', ["#a", "b"]),
        (r"a\ b", ["a b"]),
        (r'"a\ b"', [r"a\ b"]),
        (r"\"a", ['"a']),
        (r"a\b\\c", [r"a\b\c"]),
        ('"it\'s"', ["it's"]),
        ("a\\", ["a\\"]),
    ],
)
def test_split_words(text: str, expected: list[str]) -> None:
    assert split_words(text) == expected


def test_comments_can_be_kept() -> None:
    assert split_words("a # b", comments=False) == ["a", "#", "b"]


@pytest.mark.parametrize("text", ['"a', "a'b", "'\"", '"a\\"'])
def test_open_quote(text: str) -> None:
    with pytest.raises(ConfigError, match="invalid quotes"):
        split_words(text)
