"""qshd's command line."""

from __future__ import annotations

import getopt

import pytest

from qsh.cli.daemon_arguments import Arguments, parse_arguments
from qsh.errors import ConfigError


def test_nothing_is_asked_for() -> None:
    assert parse_arguments([]) == Arguments()


def test_flags_and_what_goes_before_the_file() -> None:
    words = ["-D", "-e", "-f", "/f", "-p", "22", "-g", "30", "-h", "/key", "-4", "-o"]
    found = parse_arguments([*words, "LogLevel=VERBOSE"])
    assert (found.config_file, found.foreground, found.to_stderr) == ("/f", True, True)
    assert found.overrides == [
        ("Port", "22"),
        ("LoginGraceTime", "30"),
        ("HostKey", "/key"),
        ("AddressFamily", "inet"),
        ("LogLevel", "VERBOSE"),
    ]


def test_d_counts_and_stays_in_the_foreground() -> None:
    found = parse_arguments(["-ddd"])
    assert (found.debug, found.foreground, found.to_stderr) == (3, True, True)


@pytest.mark.parametrize("words", [["-Z"], ["-f"], ["extra"]])
def test_what_sshd_does_not_know_is_refused(words: list[str]) -> None:
    with pytest.raises(getopt.GetoptError):
        parse_arguments(words)


def test_a_connection_to_test_with_starts_no_daemon() -> None:
    """Who forgets -T must not find that a qshd runs now."""
    with pytest.raises(getopt.GetoptError, match="-C is for -T"):
        parse_arguments(["-C", "user=ann"])
    assert parse_arguments(["-T", "-C", "user=ann"]).connection_spec == "user=ann"


def test_an_option_needs_a_value() -> None:
    with pytest.raises(ConfigError, match="Port: missing argument"):
        parse_arguments(["-o", "Port="])
