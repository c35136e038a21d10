from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.authorized_keys import (
    Visitor,
    authorize,
    authorize_by_principals,
    find,
    parse_authorized_line,
    permits,
)
from qsh.auth.certificates import Certificate
from qsh.auth.key_options import KeyOptions, parse_options
from qsh.auth.keys import PublicKey
from qsh.auth.sshwire import Writer
from tests.unit.auth.ssh_tools import certify, public

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_700_000_000.0
VISITOR = Visitor("u", "192.0.2.1", "host.example")


@pytest.fixture(scope="module")
def keys(key_files: dict[str, Path]) -> dict[str, PublicKey]:
    return {name: public(path) for name, path in key_files.items()}


@pytest.fixture(scope="module")
def certificate(key_files: dict[str, Path]) -> PublicKey:
    return certify(key_files["ca"], key_files["ed25519"], "-I", "id", "-n", "u,v", "-O", "no-pty")


def test_find(keys: dict[str, PublicKey]) -> None:
    key = keys["ed25519"]
    text = (
        f"# {key.line()}\n\n{key.line()}\n"
        f'  command="echo \\"ssh-rsa AAAA\\" ,",no-pty {key.line()}\n'
        f"unknown-option {key.line()}\n"
        f"cert-authority {key.line()}\n"
        f"{keys['other'].line()}\n"
        f'command="unfinished {key.line()}\n'
        f"\tno-pty\t{key.type}\t{key.base64()}\r\n"
    )
    assert [number for number, _ in find(text, key)] == [3, 4, 9]
    assert find(text, key)[1][1] == KeyOptions(command='echo "ssh-rsa AAAA" ,', pty=False)
    assert [number for number, _ in find(text, key, authority=True)] == [6]
    assert find(text, keys["rsa"]) == []


def test_lines() -> None:
    for text in ("", "# c", "nonsense", "ssh-rsa", 'command="x ssh-rsa AAAA', "ssh-ed25519 AAAA"):
        assert parse_authorized_line(text) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("", None),
        ('from="192.0.2.0/24"', None),
        ('from="host.*"', None),
        ('from="*,!192.0.2.1"', "not permitted"),
        ('from="other"', "not permitted"),
        ('from=""', "invalid from criteria"),
        ('from="192.0.2.1/24"', "invalid from criteria"),
        ('expiry-time="20200101Z"', "entry expired"),
        ('expiry-time="20990101Z"', None),
        ('principals="u"', "principals on non-CA key"),
    ],
)
def test_permits(options: str, reason: str | None) -> None:
    found = permits(parse_options(options), "192.0.2.1", "host.example", NOW)
    assert found is None if reason is None else reason in str(found)


def test_expiry_is_the_last_second_that_counts() -> None:
    options = KeyOptions(expires=100)
    assert permits(options, "192.0.2.1", "h", 100) is None
    assert permits(options, "192.0.2.1", "h", 101) == "entry expired"


def test_the_first_acceptable_line_wins(keys: dict[str, PublicKey]) -> None:
    key = keys["ed25519"]
    text = f'from="10.0.0.1" {key.line()}\nbad {key.line()}\nno-pty {key.line()}\n{key.line()}\n'
    grant = authorize(text, key, VISITOR, NOW)
    assert grant.options == KeyOptions(pty=False)
    assert grant.line == 3
    assert grant.reasons == (
        "line 1: Your host 'host.example' is not permitted to use this key for login.",
        "line 2: bad key options: unknown key option",
    )
    assert authorize(text, keys["other"], VISITOR, NOW).options is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("cert-authority", None),
        ('cert-authority,principals="x,v"', None),
        ('cert-authority,principals="x"', "does not contain an authorized principal"),
        ('cert-authority,principals=""', "does not contain an authorized principal"),
        ('cert-authority,principals="u*"', "does not contain an authorized principal"),
        ('cert-authority,from="10.0.0.1"', "not permitted"),
        ("", None),
    ],
)
def test_certificates(
    keys: dict[str, PublicKey], certificate: PublicKey, options: str, reason: str | None
) -> None:
    text = f"{options} {keys['ca'].line()}\n"
    grant = authorize(text, certificate, VISITOR, NOW)
    if reason or not options:
        assert grant.options is None
        assert (reason or "") in "".join(grant.reasons)
    else:
        assert grant.options == KeyOptions(pty=False)


def test_certificate_of_another_user(keys: dict[str, PublicKey], certificate: PublicKey) -> None:
    text = f"cert-authority {keys['ca'].line()}\n"
    grant = authorize(text, certificate, Visitor("root", "192.0.2.1", "h"), NOW)
    assert grant.options is None
    assert grant.reasons == ("line 1: Certificate invalid: name is not a listed principal",)


def test_a_listed_key_does_not_let_its_certificate_in(
    keys: dict[str, PublicKey], certificate: PublicKey
) -> None:
    assert authorize(keys["ed25519"].line(), certificate, VISITOR, NOW).options is None


def test_a_short_rsa_key_is_refused_with_the_reason() -> None:
    blob = Writer().text("ssh-rsa").mpint(65537).mpint((1 << 1023) | 1).bytes()
    key = PublicKey.from_blob(blob)
    grant = authorize(key.line(), key, VISITOR, NOW)
    assert grant.options is None
    assert "1024 bits is too short: at least 2048" in grant.reasons[0]


def test_principals_file(certificate: PublicKey) -> None:
    parsed = Certificate.parse(certificate)

    def granted(text: str | None, user: str = "u") -> KeyOptions | None:
        return authorize_by_principals(text, parsed, Visitor(user, "192.0.2.1", "h"), NOW).options

    assert granted(None) == KeyOptions(pty=False)
    assert granted(None, "root") is None
    assert granted("# v\nx\n v # c\n", "root") == KeyOptions(pty=False)
    assert granted('command="a b" v\n', "root") == KeyOptions(pty=False, command="a b")
    assert granted("x\n") is None
    assert granted("") is None
    assert granted("bad-option v\n") is None
    assert granted("cert-authority v\n") is None
    assert granted('from="10.0.0.1" v\n') is None
