"""Parsers of single values."""

from __future__ import annotations

import pytest

from qsh.config import values
from qsh.config.algorithms import assemble, check_names
from qsh.config.forwards import parse_destination, parse_forward, parse_jump, parse_uri
from qsh.config.schema import KEYWORDS
from qsh.errors import ConfigError
from qsh.patterns import match_host, match_list, match_pattern
from tests.unit.config.world import World


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("1h30m", 5400), ("2W", 1209600), ("1m1m", 120)]
)
def test_time(text: str, seconds: int) -> None:
    assert values.parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1x", "-1", "m", "99999999999", "4000w", "1h-1", "1 h"])
def test_bad_time(text: str) -> None:
    with pytest.raises(ConfigError, match="time value"):
        values.parse_time(text)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("16", 16), ("1K", 1024), ("1.5m", 1572864), ("2G", 2 << 30)]
)
def test_size(text: str, size: int) -> None:
    assert values.parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "missing"), ("x", "invalid"), ("-1", "too small"), ("2147483648", "too large")],
)
def test_integer(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"^integer value {reason}\.$"):
        values.parse_integer(text)


def test_many_digits_are_cheap() -> None:
    for parse in (values.parse_integer, values.parse_time, values.parse_ipqos):
        with pytest.raises(ConfigError):
            parse("9" * 5000)
    with pytest.raises(ConfigError):
        values.parse_size("9" * 5000)


@pytest.mark.parametrize(
    ("text", "pattern", "matches"),
    [
        ("abc", "a*c", True),
        ("abc", "a?c", True),
        ("abc", "*", True),
        ("", "*", True),
        ("", "?", False),
        ("abc", "ab", False),
        ("abc", "**c", True),
        ("a.b", "a.*", True),
        ("ab", "a*b*c", False),
    ],
)
def test_pattern(text: str, pattern: str, matches: bool) -> None:
    assert match_pattern(text, pattern) is matches


def test_pattern_takes_no_exponential_time() -> None:
    assert not match_pattern("a" * 3000, "a*" * 300 + "b")


def test_pattern_lists() -> None:
    assert match_list("ab", "x,a*") == 1
    assert match_list("ab", "a*,!ab") == -1
    assert match_list("ab", "x") == 0
    assert match_list("ab", "") == 0
    assert match_host("AB", "Ab,")


def test_forwards() -> None:
    world = World()
    forward = parse_forward("[::1]:8080:[2001:db8::1]:80", world)
    assert forward is not None
    assert (forward.listen_host, forward.listen_port) == ("::1", 8080)
    assert (forward.connect_host, forward.connect_port) == ("2001:db8::1", 80)
    path = parse_forward(r"/a\:b:host:80", world)
    assert path is not None
    assert path.listen_path == "/a:b"
    dynamic = parse_forward("1080", world, dynamic=True)
    assert dynamic is not None
    assert dynamic.dynamic
    assert parse_forward("1:a:2", world) == parse_forward("1:a:2", world)
    for bad in (
        "",
        "x",
        "1",
        "1:2",
        "0:a:1",
        "1:a:0",
        "[::1:2:a:3",
        "1:a:2:3:4",
        "a\\",
        f"1:{'a' * 2000}:1",
    ):
        assert parse_forward(bad, world) is None


def test_destinations() -> None:
    world = World()
    assert parse_uri("ssh://u%20x;p@h:22/", world) == ("u x", "h", 22)
    assert parse_uri("h", world) is None
    assert parse_destination("a@b@[::1]:22", world) == ("a@b", "::1", 22)
    for bad in ("ssh://", "ssh://@h", "ssh://h:0", "ssh://h/x", "ssh://u%zz@h", "ssh://h;x"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_uri(bad, world)
    jump = parse_jump("a,u@[::1]:5", world, strict=True)
    assert str(jump) == "a,u@[::1]:5"


def test_algorithm_lists() -> None:
    assert assemble("ciphers", "^aes256-ctr").startswith("aes256-ctr,chacha20")
    assert assemble("kex", "+mlkem768x25519-sha256").endswith(",mlkem768x25519-sha256")
    assert "ecdsa" not in assemble("keys", "-*ecdsa*")
    check_names("kex", "mlkem768x25519-sha256")
    with pytest.raises(ConfigError, match="Bad SSH2 KexAlgorithms 'mlkem'"):
        check_names("kex", "mlkem")
    with pytest.raises(ConfigError):
        assemble("ciphers", "!x")


def test_exact_algorithm_names() -> None:
    """CVE-2026-35387: one ECDSA name must not let all of them in."""
    assert assemble("keys", "ecdsa-sha2-nistp256") == "ecdsa-sha2-nistp256"
    assert assemble("signatures", "ecdsa-sha2-nistp384") == "ecdsa-sha2-nistp384"


def test_schema_is_consistent() -> None:
    from qsh.config.kinds import KINDS

    structure = {"host", "match", "include", "unsupported"}
    assert {row.kind for row in KEYWORDS.values()} <= set(KINDS) | structure
    assert set(KINDS) - {"confirm"} <= {row.kind for row in KEYWORDS.values()}
    assert {row.status for row in KEYWORDS.values()} == {"used", "ignored", "refused"}
