"""The configuration parsers raise ConfigError, UsageError or nothing, whatever they read."""

from __future__ import annotations

import contextlib
import shlex

from hypothesis import given, settings
from hypothesis import strategies as st

from qsh.cli.arguments import FLAGS, WITH_VALUE, parse_arguments
from qsh.config.dump import dump
from qsh.config.environment import ConfigFile, Environment
from qsh.config.lexer import split_keyword, split_words
from qsh.config.resolve import resolve_host
from qsh.config.schema import KEYWORDS
from qsh.config.settings import Settings
from qsh.config.tokens import Tokens, expand, valid_host, valid_user
from qsh.errors import ConfigError, UsageError
from qsh.patterns import match_list, match_pattern

FUZZ = settings(max_examples=300, deadline=None)


class OneFile(Environment):
    def __init__(self, text: str) -> None:
        self._text = text

    def read_file(self, path: str) -> ConfigFile:
        return ConfigFile(self._text) if path == "/f" else super().read_file(path)


SPICE = st.sampled_from(
    ["yes", "no", "none", "any", "1", "0", "-1", "1h", "a:b", "1:a:2", "[::1]:1", "%h", "%", "${", "${X}",
     '"', "'", "\\", "#", "=", "!", "*", ",", "+", "^", "-", "/a", "~", "host", "all", "final", "ssh://",
     "10.0.0.0/8", "a=b", "user@h:1", "\x00", "\r", "é", "\udcff"]
)  # fmt: skip
WORDS = st.lists(st.one_of(SPICE, st.text(max_size=6)), max_size=5)
LINES = st.builds(
    lambda keyword, gap, words, glue: keyword + gap + glue.join(words),
    st.sampled_from([row.name for row in KEYWORDS.values()]),
    st.sampled_from([" ", "=", " = ", "\t", ""]),
    WORDS,
    st.sampled_from([" ", "", " ", ":"]),
)
FILES = st.lists(st.one_of(LINES, LINES, st.text(max_size=20)), max_size=8).map("\n".join)


@FUZZ
@given(FILES)
def test_files(text: str) -> None:
    with contextlib.suppress(ConfigError):
        options = resolve_host(
            Settings(), OneFile(text), host="host", config_file="/f", offline=True
        )
        dump(options)
        for name in type(options).__annotations__:
            with contextlib.suppress(ConfigError):
                getattr(options, name)


@FUZZ
@given(LINES)
def test_single_lines_reach_every_parser(line: str) -> None:
    with contextlib.suppress(ConfigError):
        dump(resolve_host(Settings(), OneFile(line), host="host", config_file="/f", offline=True))


ARGUMENTS = st.lists(
    st.one_of(
        st.sampled_from([f"-{letter}" for letter in FLAGS + WITH_VALUE]),
        SPICE,
        LINES,
        st.text(max_size=8),
    ),
    max_size=8,
)


@FUZZ
@given(ARGUMENTS)
def test_arguments(argv: list[str]) -> None:
    with contextlib.suppress(ConfigError, UsageError):
        found = parse_arguments(argv, Environment())
        if not found.version and found.query is None:
            assert valid_host(found.host)
            assert not any(word.startswith("-oQsh") for word in found.ssh_argv)


@FUZZ
@given(st.lists(st.text(alphabet="ab \"'\\#\té", max_size=8), max_size=5))
def test_quoted_words_come_back(words: list[str]) -> None:
    def quote(word: str) -> str:
        return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'

    assert split_words(" ".join(quote(word) for word in words)) == words


@FUZZ
@given(st.text(alphabet="ab \"'é", max_size=20))
def test_agrees_with_shlex(text: str) -> None:
    """Without backslashes and comments the rules are those of a shell."""
    try:
        expected: list[str] | None = shlex.split(text)
    except ValueError:
        expected = None
    try:
        assert split_words(text) == expected
    except ConfigError:
        assert expected is None


@FUZZ
@given(st.text(alphabet='Pa= "\t#\r\n\f\x00', max_size=12))
def test_split_keyword(line: str) -> None:
    parsed = split_keyword(line)
    if parsed is not None:
        keyword, rest = parsed
        assert keyword
        assert rest[:1] not in tuple(" \t\r\n")
        assert split_keyword(f"{keyword} {rest}") is not None or keyword[0] in '"= #\t\r\n'


@FUZZ
@given(st.text(alphabet="ab*?", max_size=8), st.text(alphabet="ab", max_size=8))
def test_patterns_agree_with_a_regular_expression(pattern: str, text: str) -> None:
    import re

    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    assert match_pattern(text, pattern) == bool(re.fullmatch(expression, text, re.DOTALL))


@FUZZ
@given(
    st.lists(st.text(alphabet="ab*!", min_size=1, max_size=4), max_size=4),
    st.text("ab", max_size=3),
)
def test_a_negated_match_always_wins(members: list[str], text: str) -> None:
    verdict = match_list(text, ",".join(members))
    negated = any(m[0] == "!" and match_pattern(text, m[1:]) for m in members)
    assert (verdict == -1) == negated


@FUZZ
@given(st.text(max_size=12))
def test_names_that_pass_cannot_leave_their_word(name: str) -> None:
    """CVE-2023-51385 and its kin: what passes has no shell syntax outside of ``$`` in users."""
    if valid_host(name):
        command = expand("nc %h 22", Tokens({"h": name}, "h"))
        assert not set(command) & set("`$;&|<>(){}'\"\\\n\r\0,")
        assert not name.startswith("-")
    if valid_user(name):
        assert not set(name) & set("`;&|<>(){}'\"\n\r\0")
