from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.certificates import Certificate
from qsh.auth.key_options import (
    TUNNEL_ANY,
    KeyOptions,
    Permit,
    merge_options,
    options_of_certificate,
    parse_options,
)
from qsh.errors import KeyFormatError
from tests.unit.auth.ssh_tools import certify

if TYPE_CHECKING:
    from pathlib import Path

RESTRICTED = KeyOptions(
    restricted=True,
    port_forwarding=False,
    agent_forwarding=False,
    x11_forwarding=False,
    pty=False,
    user_rc=False,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", KeyOptions()),
        ("restrict", RESTRICTED),
        ("no-pty", KeyOptions(pty=False)),
        ("NO-Pty", KeyOptions(pty=False)),
        ("no-pty,pty", KeyOptions()),
        ("no-agent-forwarding", KeyOptions(agent_forwarding=False)),
        ("no-port-forwarding", KeyOptions(port_forwarding=False)),
        ("no-x11-forwarding,no-user-rc", KeyOptions(x11_forwarding=False, user_rc=False)),
        ("no-touch-required", KeyOptions(touch_required=False)),
        ("verify-required", KeyOptions(verify_required=True)),
        ("cert-authority", KeyOptions(cert_authority=True)),
        ('command="a b"', KeyOptions(command="a b")),
        ('COMMAND="a"', KeyOptions(command="a")),
        (r'command="say \"hi\" \n \\."', KeyOptions(command=r'say "hi" \n \\.')),
        ('command="a,b",no-pty', KeyOptions(command="a,b", pty=False)),
        ('from="*.example,!x"', KeyOptions(from_hosts="*.example,!x")),
        ('principals="a,b"', KeyOptions(principals="a,b")),
        ('environment="B=x=y"', KeyOptions(environment=(("B", "x=y"),))),
        ('environment="A=1",environment="A=2"', KeyOptions(environment=(("A", "1"),))),
        ('permitopen="h:22"', KeyOptions(permit_open=(Permit("h", 22),))),
        ('permitopen="[::1]:*"', KeyOptions(permit_open=(Permit("::1", 0),))),
        ('permitopen="h/80"', KeyOptions(permit_open=(Permit("h", 80),))),
        ('permitlisten="8080"', KeyOptions(permit_listen=(Permit("*", 8080),))),
        ('permitlisten="localhost:0"', None),
        ('tunnel="any"', KeyOptions(tunnel=TUNNEL_ANY)),
        ('tunnel="3"', KeyOptions(tunnel=3)),
        ('expiry-time="20200101Z"', KeyOptions(expires=1577836800)),
        ('expiry-time="20210101Z",expiry-time="20200101Z"', KeyOptions(expires=1577836800)),
        (",no-pty", KeyOptions(pty=False)),
        ("no-pty, no-such-option", KeyOptions(pty=False)),
    ],
)  # fmt: skip
def test_options(text: str, expected: KeyOptions | None) -> None:
    if expected is None:
        with pytest.raises(KeyFormatError):
            parse_options(text)
    else:
        assert parse_options(text) == expected


def test_order_matters_for_restrict() -> None:
    assert parse_options("restrict,pty").pty
    assert not parse_options("pty,restrict").pty
    assert not parse_options("restrict,pty").agent_forwarding


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "unknown key option"),
        ("no-restrict", "unknown key option"),
        ("no-cert-authority", "unknown key option"),
        ("restricted", "unknown key option"),
        ("pty=1", "unknown key option"),
        ('pty"x"', "unknown key option"),
        ("command", "unknown key option"),
        ("command=ls", "missing start quote"),
        ('command="ls', "missing end quote"),
        ('command="a",command="b"', 'multiple "command" clauses'),
        ('from="a",from="b"', 'multiple "from" clauses'),
        ('principals="a",principals="b"', 'multiple "principals" clauses'),
        ("no-pty,", "unexpected end-of-options"),
        ('command="a"no-pty', "unknown key option"),
        ('environment="A"', "invalid environment string"),
        ('environment="=1"', "invalid environment string"),
        ('environment="A-B=1"', "invalid environment string"),
        ('environment="É=1"', "invalid environment string"),
        ('permitopen="h"', "invalid permission port"),
        ('permitopen="22"', "invalid permission port"),
        ('permitopen="h:0"', "invalid permission port"),
        ('permitopen="h:65536"', "invalid permission port"),
        ('permitopen="[::1:22"', "invalid permission hostname"),
        ('permitopen="::1:22"', "invalid permission port"),
        ('tunnel="x"', "invalid tun device"),
        ('expiry-time="x"', "invalid expires time"),
    ],
)
def test_refusals(text: str, reason: str) -> None:
    with pytest.raises(KeyFormatError, match=reason):
        parse_options(text)


def test_of_certificate(key_files: dict[str, Path]) -> None:
    def options(*args: str) -> KeyOptions:
        flags = [a for arg in args for a in ("-O", arg)]
        key = certify(key_files["ca"], key_files["ed25519"], "-I", "id", "-n", "u", *flags)
        return options_of_certificate(Certificate.parse(key))

    assert options() == KeyOptions()
    nothing = KeyOptions(
        port_forwarding=False,
        agent_forwarding=False,
        x11_forwarding=False,
        pty=False,
        user_rc=False,
    )
    assert options("clear") == nothing
    assert options("clear", "permit-pty").pty
    assert options("no-pty") == KeyOptions(pty=False)
    assert options("force-command=ls").command == "ls"
    assert options("source-address=10.0.0.0/8").source_addresses == "10.0.0.0/8"
    assert not options("no-touch-required").touch_required
    assert options("verify-required").verify_required
    assert options("extension:x@example=y") == KeyOptions()
    with pytest.raises(KeyFormatError, match="not supported"):
        options("critical:x@example=y")


def test_merge() -> None:
    line = parse_options('cert-authority,principals="u",no-pty,from="a",expiry-time="20200101Z"')
    rights = KeyOptions(command="ls", source_addresses="10.0.0.0/8", agent_forwarding=False)
    assert merge_options(line, rights) == KeyOptions(
        pty=False,
        agent_forwarding=False,
        command="ls",
        from_hosts="a",
        source_addresses="10.0.0.0/8",
        expires=1577836800,
    )
    loose = KeyOptions(touch_required=False)
    assert merge_options(loose, KeyOptions()).touch_required
    assert not merge_options(loose, loose).touch_required
    assert merge_options(KeyOptions(), KeyOptions(verify_required=True)).verify_required
    same = KeyOptions(command="ls")
    assert merge_options(same, same).command == "ls"
    with pytest.raises(KeyFormatError, match="do not match"):
        merge_options(same, KeyOptions(command="id"))
