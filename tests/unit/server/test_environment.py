"""A session's environment and the last-login line."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from qsh.server.environment import (
    MAX_ACCEPTED,
    MAX_ACCEPTED_BYTES,
    ROOT_PATH,
    USER_PATH,
    accept,
    build,
    last_login_line,
    parse_environment,
)


@dataclass
class User:
    name: str = "bob"
    uid: int = 1000
    home: str = "/home/bob"
    shell: str = "/bin/zsh"


def made(**more: object) -> dict[str, str]:
    facts: dict[str, object] = {
        "account": User(),
        "client": ("192.0.2.7", 4321),
        "server": ("198.51.100.1", 22),
    }
    return build(**{**facts, **more})  # type: ignore[arg-type]


def test_the_least() -> None:
    assert made() == {
        "USER": "bob",
        "LOGNAME": "bob",
        "HOME": "/home/bob",
        "SHELL": "/bin/zsh",
        "PATH": USER_PATH,
        "MAIL": "/var/mail/bob",
        "SSH_CLIENT": "192.0.2.7 4321 22",
        "SSH_CONNECTION": "192.0.2.7 4321 198.51.100.1 22",
    }


def test_all_that_may_be_set() -> None:
    env = made(tty="/dev/pts/3", term="xterm", tz="Europe/Paris", original_command="ls -l")
    assert env["SSH_TTY"] == "/dev/pts/3"
    assert env["TERM"] == "xterm"
    assert env["TZ"] == "Europe/Paris"
    assert env["SSH_ORIGINAL_COMMAND"] == "ls -l"


def test_an_empty_original_command_is_one() -> None:
    assert made(original_command="")["SSH_ORIGINAL_COMMAND"] == ""


def test_paths() -> None:
    assert made(account=User(uid=0))["PATH"] == ROOT_PATH
    assert made(system={"PATH": "/etc-env"})["PATH"] == "/etc-env"


def test_later_sources_replace_earlier_ones() -> None:
    env = made(
        accepted={"A": "client", "B": "client", "C": "client", "D": "client", "USER": "root"},
        system={"B": "system"},
        key_env=(("C", "key"), ("D", "key"), ("HOME", "/elsewhere")),
        set_env={"D": "admin"},
    )
    assert [env[name] for name in "ABCD"] == ["client", "system", "key", "admin"]
    assert env["USER"] == "bob"
    assert env["HOME"] == "/elsewhere"


def test_nothing_replaces_where_the_client_is() -> None:
    lie = {"SSH_CONNECTION": "1.1.1.1 1 1.1.1.1 1", "SSH_CLIENT": "x"}
    env = made(accepted=lie, system=lie, key_env=lie, set_env=lie, extra=lie)
    assert env["SSH_CONNECTION"] == "192.0.2.7 4321 198.51.100.1 22"
    assert env["SSH_CLIENT"] == "192.0.2.7 4321 22"


def test_permit_user_environment_patterns() -> None:
    env = made(
        key_env={"LANG": "a", "LD_PRELOAD": "b"},
        user_file="LC_ALL=c\nLD_AUDIT=d\n",
        key_env_allowed="LANG,LC_*",
    )
    assert (env["LANG"], env["LC_ALL"]) == ("a", "c")
    assert not {"LD_PRELOAD", "LD_AUDIT"} & env.keys()


def test_what_execve_cannot_take_is_left_out() -> None:
    env = made(extra={"": "x", "A=B": "x", "C": "a\0b", "D": "ok"})
    assert env["D"] == "ok"
    assert not {"", "A=B", "C"} & env.keys()


@pytest.mark.parametrize(
    ("patterns", "names", "expected"),
    [
        ((), ["LANG"], []),
        (("LANG", "LC_*"), ["LC_ALL", "LANG", "LANGUAGE", "lang"], ["LC_ALL", "LANG"]),
        (("*",), ["A", "", "A=B", "A\0", "A B", "Ä", "B"], ["A", "B"]),
        (("X?",), ["X", "XY", "XYZ"], ["XY"]),
    ],
)
def test_accept(patterns: tuple[str, ...], names: list[str], expected: list[str]) -> None:
    assert list(accept(patterns, dict.fromkeys(names, "v"))) == expected


def test_accept_is_bounded() -> None:
    many = {f"V{number}": "x" for number in range(1000)}
    assert len(accept(("*",), many)) == MAX_ACCEPTED
    large = accept(("*",), {"A": "x" * MAX_ACCEPTED_BYTES, "B": "x", "C": "a\0b"})
    assert large == {"B": "x"}


def test_parse_environment() -> None:
    text = "# no\nA=1\n  B=2 \nbad\n=x\nC=a=b\n" + "D=1\n" * 1000 + "E=late\n"
    assert parse_environment(text) == {"A": "1", "B": "2 ", "C": "a=b", "D": "1"}


def test_last_login_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert last_login_line(1_795_440_368, "host") == (
            "Last login: Mon Nov 23 13:26:08 2026 from host\r\n"
        )
        assert last_login_line(0.0, "") == "Last login: Thu Jan  1 00:00:00 1970\r\n"
        assert last_login_line(0.0, "a\x1b]0;x\x07b\n").endswith(" from a]0;xb\r\n")
    finally:
        monkeypatch.undo()
        time.tzset()
