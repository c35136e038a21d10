from __future__ import annotations

import pytest

from qsh.auth.address_match import (
    match_address_list,
    match_cidr_list,
    match_host_and_address,
    match_hostname,
)
from qsh.errors import KeyFormatError
from qsh.patterns import match_list, match_pattern


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("", "", True),
        ("", "*", True),
        ("", "?", False),
        ("abc", "abc", True),
        ("abc", "ab", False),
        ("abc", "a*", True),
        ("abc", "*c", True),
        ("abc", "a?c", True),
        ("ac", "a?c", False),
        ("abcabc", "*abc", True),
        ("aaab", "a*a*b", True),
        ("abc", "**", True),
        ("abc", "abc*?", False),
        ("[h]:22", "[h]:22", True),
    ],
)
def test_patterns(text: str, pattern: str, expected: bool) -> None:
    assert match_pattern(text, pattern) is expected


def test_patterns_take_no_exponential_time() -> None:
    # one that tried all ways would not end
    assert not match_pattern("a" * 1000, "*a" * 30 + "b")


def test_lists() -> None:
    assert match_list("a", "b,a") == 1
    assert match_list("a", "*,!a") == -1
    assert match_list("a", "!a") == -1
    assert match_list("b", "!a") == 0
    assert match_list("a", "") == 0
    assert match_list("a", "a," + "x" * 1023) == 0
    assert match_hostname("Host.EXAMPLE", "*.exAmple") == 1
    assert match_hostname("k", "\u212a") == 0  # the Kelvin sign


@pytest.mark.parametrize(
    ("address", "patterns", "expected"),
    [
        ("192.0.2.1", "192.0.2.0/24", 1),
        ("192.0.3.1", "192.0.2.0/24", 0),
        ("192.0.2.1", "192.0.2.0/24,!192.0.2.1", -1),
        ("192.0.2.1", "!192.0.2.1,192.0.2.0/24", -1),
        ("192.0.2.1", "192.0.2.*", 1),
        ("192.0.2.1", "192.0.?.1", 1),
        ("2001:db8::1", "2001:db8::/32", 1),
        ("2001:DB8:0::1", "2001:db8::1", 1),
        ("2001:db8::1", "192.0.2.0/24", 0),
        ("192.0.2.1", "::/0", 0),
        ("fe80::1%eth0", "fe80::/10", 1),
        ("nonsense", "*", 0),
        ("192.0.2.1", "0.0.0.0/0", 1),
        ("192.0.2.1", "host.example,192.0.2.1", 1),
    ],
)
def test_addresses(address: str, patterns: str, expected: int) -> None:
    assert match_address_list(address, patterns) == expected


@pytest.mark.parametrize("patterns", ["192.0.2.1/24", "192.0.2.0/33", "a,,b", "!", ""])
def test_inconsistent_lists(patterns: str) -> None:
    with pytest.raises(KeyFormatError):
        match_address_list("192.0.2.1", patterns)
    with pytest.raises(KeyFormatError):
        match_address_list(None, patterns)


def test_cidr_lists_of_certificates() -> None:
    assert match_cidr_list("192.0.2.1", "198.51.100.0/24,192.0.2.0/24")
    assert not match_cidr_list("192.0.2.1", "198.51.100.0/24")
    assert not match_cidr_list(None, "0.0.0.0/0")
    for wrong in ("192.0.2.*", "!192.0.2.1", "", "192.0.2.1,", "host", "1" * 60):
        with pytest.raises(KeyFormatError):
            match_cidr_list("192.0.2.1", wrong)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("host.example", True),
        ("192.0.2.1", True),
        ("*", True),
        ("*,!host.example", False),
        ("*,!192.0.2.1", False),
        ("other", False),
        ("!other,*", True),
    ],
)
def test_host_and_address(patterns: str, expected: bool) -> None:
    assert match_host_and_address("host.example", "192.0.2.1", patterns) is expected
