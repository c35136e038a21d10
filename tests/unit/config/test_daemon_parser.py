"""Lines, Match and Include of qshd_config, and the errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.config.daemon_dump import dump, parse_connection
from qsh.config.daemon_options import DaemonConfig, DaemonOptions
from qsh.config.daemon_parser import MAX_DEPTH, BadConfiguration, parse
from qsh.config.daemon_schema import SCHEMA, UNUSED
from qsh.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "/etc/qsh/qshd_config"


def options(text: str) -> DaemonOptions:
    return parse(text, FILE).options


def errors(text: str, **more: object) -> list[str]:
    with pytest.raises(BadConfiguration) as caught:
        parse(text, FILE, **more)  # type: ignore[arg-type]
    return caught.value.report()


def test_no_file_is_defaults() -> None:
    assert options("") == DaemonOptions()


def test_root_stays_out_by_default() -> None:
    assert options("").permit_root_login == "no"


def test_all_bad_lines_are_reported() -> None:
    assert errors("Foo bar\nPort x\n\nPermitTTY\nBar baz\n") == [
        f"{FILE} line 1: Bad configuration option: Foo",
        f"{FILE} line 2: Badly formatted port number.",
        f'{FILE} line 4: no argument after keyword "PermitTTY"',
        f"{FILE} line 5: Bad configuration option: Bar",
        f"{FILE}: terminating, 4 bad configuration options",
    ]


def test_error_carries_place() -> None:
    with pytest.raises(BadConfiguration) as caught:
        parse("\nfoo bar", FILE)
    error = caught.value.errors[0]
    assert (error.file, error.line, error.keyword) == (FILE, 2, "foo")
    assert str(caught.value).endswith("terminating, 1 bad configuration options")


def test_first_value_wins_and_lists_grow() -> None:
    found = options("MaxSessions 3\nMaxSessions 4\nAcceptEnv A B\nAcceptEnv C\nPort 1\nPort 2\n")
    assert found.max_sessions == 3
    assert found.accept_env == ("A", "B", "C")
    assert found.port == (1, 2)


def test_overrides_go_first() -> None:
    config = parse("MaxSessions 3\nPort 7\n", FILE, overrides=[("maxsessions", "9"), ("Port", "8")])
    assert config.options.max_sessions == 9
    assert config.options.port == (8,)


def test_override_errors_name_the_command_line() -> None:
    assert errors("", overrides=[("Foo", "1")])[0] == (
        "command-line: Bad configuration option: Foo"
    )
    assert "not supported" in errors("", overrides=[("Match", "all")])[0]


def test_match_values_replace_global_ones() -> None:
    config = parse(
        "PermitTTY yes\nAcceptEnv G\nMatch User bob\nPermitTTY no\nAcceptEnv A\n"
        "Match User b*\nPermitTTY yes\nAcceptEnv B\n",
        FILE,
    )
    found = config.for_connection("bob")
    assert not found.permit_tty
    assert found.accept_env == ("A", "B")
    assert config.for_connection("eve") == config.options
    assert config.options.permit_tty


@pytest.mark.parametrize(
    ("line", "facts", "expected"),
    [
        ("User bob", {"user": "bob"}, True),
        ("User bob", {"user": "Bob"}, False),
        ("User b*,!bob", {"user": "bob"}, False),
        ("User b*,!bob", {"user": "bill"}, True),
        ("User !bob", {"user": "eve"}, False),
        ("User bob", {}, False),
        ("Group wheel", {"user": "a", "groups": ("users", "wheel")}, True),
        ("Group *,!wheel", {"user": "a", "groups": ("users", "wheel")}, False),
        ("Group *", {"user": "a"}, False),
        ("Host *.Example.com", {"host": "WWW.example.COM"}, True),
        ("Host *", {}, False),
        ("Host 10.*", {"host": "", "address": "10.1.2.3"}, True),
        ("Address 10.0.0.0/8", {"address": "10.1.2.3"}, True),
        ("Address 10.0.0.0/8,!10.1.0.0/16", {"address": "10.1.2.3"}, False),
        ("Address 10.0.0.0/8", {"address": "::ffff:10.1.2.3"}, True),
        ("Address 10.*", {"address": "10.1.2.3"}, True),
        ("Address fe80::/10", {"address": "fe80::1%eth0"}, True),
        ("Address 10.0.0.0/8", {"address": "2001:db8::1"}, False),
        ("Address *", {"address": "UNKNOWN"}, True),
        ("LocalAddress 192.0.2.1", {"local_address": "192.0.2.1"}, True),
        ("LocalPort 22", {"local_port": 22}, True),
        ("LocalPort 22", {"local_port": 2222}, False),
        ("RDomain *", {"user": "a"}, False),
        ("All", {}, True),
        ("all # comment", {}, True),
        ("user=bob LocalPort=22", {"user": "bob", "local_port": 22}, True),
        ("user=bob LocalPort=22", {"user": "bob", "local_port": 23}, False),
        ("version qsh_*", {}, True),
        ("version *,!OpenSSH_*", {}, False),
        ("invalid-user", {"user": "x"}, True),
        ("invalid-user", {"user": "x", "groups": ("g",)}, False),
    ],
)
def test_match(line: str, facts: dict[str, object], expected: bool) -> None:
    config = parse(f"Match {line}\nPermitTTY no\n", FILE)
    assert config.for_connection(**facts).permit_tty is not expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("User", "Missing Match criteria for User"),
        ("foo bar", "Unsupported Match attribute foo"),
        ("# x", "One or more attributes required for Match"),
        ("All User x", "'all' cannot be combined with other Match attributes"),
        ("User x All", "'all' cannot be combined with other Match attributes"),
        ("Address 10.0.0.1/8", "Invalid Match address argument '10.0.0.1/8'"),
        ("Address 10.0.0.0/33", "Invalid Match address argument '10.0.0.0/33'"),
        ("LocalPort x", "Invalid LocalPort 'x' on Match line"),
    ],
)
def test_bad_match(line: str, text: str) -> None:
    assert errors(f"Match {line}\n")[0] == f"{FILE} line 1: {text}"


def test_only_some_keywords_may_follow_match() -> None:
    text = errors("Match all\nPort 22\nPermitTTY no\n")
    assert text[0] == f"{FILE} line 2: Directive 'Port' is not allowed within a Match block"
    assert len(text) == 2


def test_include_takes_globs_relative_to_etc_qsh() -> None:
    asked: list[str] = []

    def read(pattern: str) -> list[tuple[str, str]]:
        asked.append(pattern)
        return [("/a", "MaxSessions 1\n"), ("/b", "MaxSessions 2\nMaxAuthTries 2\n")]

    found = parse("Include conf.d/*.conf /abs/*\n", FILE, read).options
    assert asked == ["/etc/qsh/conf.d/*.conf", "/abs/*"]
    assert (found.max_sessions, found.max_auth_tries) == (1, 2)


def test_match_in_an_included_file_ends_with_it_and_is_bound_by_the_outer() -> None:
    inner = "PermitTTY no\nMatch User bob\nMaxSessions 1\n"
    config = parse(
        "Match Address 10.0.0.0/8\nInclude x\nMaxAuthTries 1\n", FILE, lambda p: [("/x", inner)]
    )
    bob = config.for_connection("bob", address="10.0.0.1")
    assert (bob.permit_tty, bob.max_sessions, bob.max_auth_tries) == (False, 1, 1)
    elsewhere = config.for_connection("bob", address="192.0.2.1")
    assert elsewhere == config.options
    eve = config.for_connection("eve", address="10.0.0.1")
    assert (eve.permit_tty, eve.max_sessions, eve.max_auth_tries) == (False, 10, 1)


def test_an_error_in_an_included_file_names_that_file() -> None:
    text = errors("Include x\n", read_files=lambda p: [("/x", "\nFoo 1\n")])
    assert text[0] == "/x line 2: Bad configuration option: Foo"


def test_a_file_that_includes_itself_ends() -> None:
    reads = 0

    def read(pattern: str) -> list[tuple[str, str]]:
        nonlocal reads
        reads += 1
        return [("/x", "Include x\n")]

    text = errors("Include x\n", read_files=read)
    assert text[0] == "/x line 1: Too many recursive configuration includes"
    assert reads == MAX_DEPTH


def test_a_file_that_includes_itself_twice_ends_too() -> None:
    text = errors("Include x\n", read_files=lambda p: [("/x", "Include x\nInclude x\n")])
    assert "Too many included files" in text[-2]


def test_an_unreadable_include_is_an_error() -> None:
    def read(pattern: str) -> list[tuple[str, str]]:
        raise PermissionError(13, "Permission denied", pattern)

    assert errors("Include x\n", read_files=read)[0] == (
        f'{FILE} line 1: include "/etc/qsh/x" failed: Permission denied'
    )


def test_it_names_the_file_that_a_wildcard_has_found() -> None:
    def read(pattern: str) -> list[tuple[str, str]]:
        raise IsADirectoryError(21, "Is a directory", "/etc/qsh/d/old.conf")

    assert errors("Include d/*.conf\n", read_files=read)[0] == (
        f'{FILE} line 1: include "/etc/qsh/d/old.conf" failed: Is a directory'
    )


def test_files_are_where_qshd_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = options("HostKey key\nHostKey /key\nHostCertificate none\n")
    assert found.host_key == (f"{tmp_path}/key", "/key")
    assert found.host_certificate == ("none",)
    tmp_path.rmdir()
    assert errors("RevokedKeys gone\n")[0] == (
        f"{FILE} line 1: RevokedKeys gone: No such file or directory"
    )


def test_an_include_of_nothing_is_no_error() -> None:
    assert options("Include none/*.conf\n") == DaemonOptions()


def test_deprecated_keywords_are_warnings() -> None:
    config = parse("UseLogin yes\nKerberosGetAFSToken no\nProtocol 2\n", FILE)
    assert config.warnings == (
        f"{FILE} line 1: Deprecated option UseLogin",
        f"{FILE} line 2: Unsupported option KerberosGetAFSToken",
    )


@pytest.mark.parametrize("name", ["PasswordAuthentication", "KbdInteractiveAuthentication"])
def test_passwords_that_nobody_could_check_are_refused(name: str) -> None:
    wanted = f"{name} yes needs UsePAM yes: qshd has passwords checked by PAM only"
    assert wanted in errors(f"UsePAM no\n{name} yes")[0]
    assert wanted in errors(f"UsePAM no\nMatch User x\n{name} yes")[0]
    for good in (f"UsePAM no\n{name} no", "UsePAM no", f"UsePAM yes\n{name} yes"):
        assert isinstance(options(good), DaemonOptions)


def test_every_keyword_has_a_field_and_every_field_a_keyword() -> None:
    fields = set(DaemonOptions.__dataclass_fields__)
    assert {keyword.field for keyword in SCHEMA} == fields
    assert len({keyword.name.lower() for keyword in SCHEMA}) == len(SCHEMA)


def test_what_is_not_done_says_why() -> None:
    assert all(keyword.note for keyword in SCHEMA if keyword.status == UNUSED)


def test_own_keywords() -> None:
    found = options(
        "DetachedIdleMax 1h\nDetachedMax none\nDetachedPerUser 3\nQshExecMax 5m\n"
        "QshRetryThreshold 2\nQshMaxConnections 0\nQshCongestion cubic\n"
    )
    assert (found.detached_idle_max, found.detached_max, found.qsh_exec_max) == (3600, 0, 300)
    assert (found.detached_per_user, found.qsh_retry_threshold) == (3, 2)
    assert found.qsh_congestion == "cubic"
    assert "detachedmax none\n" in dump(found)


def test_dump_of_a_connection() -> None:
    config = parse("Match User bob\nPermitTTY no\n", FILE)
    assert "permittty no\n" in dump(config, "user=bob,addr=1.2.3.4")
    assert "permittty yes\n" in dump(config)
    assert isinstance(config, DaemonConfig)


@pytest.mark.parametrize("spec", ["foo=1", "user", "lport=0", "lport=x", ","])
def test_bad_connection_specs(spec: str) -> None:
    with pytest.raises(ConfigError):
        parse_connection(spec)


@pytest.mark.parametrize("name", ["AuthorizedKeysCommand", "AuthorizedPrincipalsCommand"])
def test_a_command_needs_a_user(name: str) -> None:
    assert errors(f"{name} /usr/bin/x\n")[0] == f"{FILE}: {name} set without {name}User"
    assert options(f"{name} /usr/bin/x\n{name}User nobody\n")
    assert options(f"{name} none\n")


def test_recordings() -> None:
    assert options("").qsh_record == "no"
    config = parse(
        "QshRecord open\nMatch User anna\nQshRecord closed\nQshRecordPath /r/%u-%U/%t%%.cast\n"
        "QshRecordInput yes\n",
        FILE,
    )
    assert (config.options.qsh_record, config.options.qsh_record_input) == ("open", False)
    found = config.for_connection(user="anna")
    assert (found.qsh_record, found.qsh_record_input) == ("closed", True)
    assert found.qsh_record_path == "/r/%u-%U/%t%%.cast"
    assert config.for_connection(user="ben").qsh_record == "open"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("QshRecord yes", 'unsupported option "yes".'),
        ("QshRecordInput sometimes", 'unsupported option "sometimes".'),
        ("QshRecordPath recordings/%t.cast", "QshRecordPath must be the absolute path of a file"),
        ("QshRecordPath none", "QshRecordPath must be the absolute path of a file"),
        ("QshRecordPath /r/", "QshRecordPath must be the absolute path of a file"),
        ("QshRecordPath /r/../%t", "QshRecordPath may not have .. in it"),
        ("QshRecordPath /r/%h.cast", "percent_expand: unknown key %h"),
    ],
)
def test_recordings_that_cannot_be(line: str, complaint: str) -> None:
    assert complaint in errors(line)[0]
