"""The login child's judgement over the table of tests/support/permission_cases.py, and over every kind of user."""

from __future__ import annotations

import grp
import os
import pwd
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qsh.auth import userauth
from qsh.auth.private import PrivateKey
from qsh.config.daemon_parser import parse
from qsh.server import login as module
from qsh.server.account import Account, lookup
from qsh.server.login import Judge, group_names
from qsh.server.requests import Login, Outcome
from qsh.wire.messages import Proof
from tests.support.permission_cases import CASES, Case, Credentials
from tests.unit.auth.ssh_tools import FakeToken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.login import Opinion

ME = pwd.getpwuid(os.getuid())
GROUP = grp.getgrgid(ME.pw_gid).gr_name
SESSION_ID, HOST = b"i" * 46, b"host"
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials(tmp_path_factory.mktemp("credentials"))


@pytest.fixture
def where() -> Iterator[Path]:
    """Below no directory that others can write, as a program must be that root is to run."""
    with tempfile.TemporaryDirectory(dir="/home" if os.geteuid() == 0 else Path.home()) as path:
        os.chmod(path, 0o755)
        yield Path(path)


def judge(
    credentials: Credentials, case: Case, where: Path, dns: str = "127.0.0.1", **proof: Any
) -> tuple[Opinion, list[str]]:
    """As a client that shows a key at once, with its signature."""
    shown = credentials.prepare(case, where, ME.pw_name, GROUP)
    text = f"AuthorizedKeysFile {where}/authorized_keys\nPermitRootLogin yes\nStrictModes no\n"
    text = credentials.fill(case.config, where, ME.pw_name, GROUP) + "\n" + text
    if "\nMatch" in f"\n{case.config}":
        text = text.partition("StrictModes no\n")[0]
        head = f"PermitRootLogin yes\nStrictModes no\nAuthorizedKeysFile {where}/authorized_keys\n"
        text = head + credentials.fill(case.config, where, ME.pw_name, GROUP)
    config = parse(text, "qshd_config")

    def options_for(login: Login, account: Account | None) -> DaemonOptions:
        return config.for_connection(
            login.user,
            group_names(account) if account else (),
            "",
            login.client[0],
            login.server[0],
            login.server[1],
        )

    user = credentials.fill(case.user, where, ME.pw_name, GROUP)
    algorithm = userauth.default_algorithm(shown.type)
    data = userauth.signed_data(SESSION_ID, user, algorithm, shown.blob, HOST)
    private = PrivateKey.load((credentials.folder / case.shows).read_bytes())
    signature = private.sign(data, userauth.signature_algorithm(algorithm))
    fields = {"offer": 0, "algorithm": algorithm, "signature": signature} | proof
    login = Login(
        SESSION_ID, user, ("127.0.0.1", 4711), ("127.0.0.1", 22), [shown.blob], Proof(**fields)
    )
    only = None if os.geteuid() == 0 else os.geteuid()
    judged = Judge(login, HOST, options_for, NOW, only, name_of=lambda _: dns)
    return judged.judge(), judged.complaints


@pytest.mark.parametrize("name", CASES)
def test_who_is_let_in(credentials: Credentials, where: Path, name: str) -> None:
    case = CASES[name]
    if "CommandUser root" in case.config:
        case = case._replace(config=case.config.replace("User root", f"User {ME.pw_name}"))
    opinion, complaints = judge(credentials, case, where)
    expected = Outcome.ACCEPTED if case.allowed else Outcome.REFUSED
    assert opinion.outcome == expected, (opinion.reason, complaints)
    if case.allowed:
        assert opinion.acceptable == ()
    else:
        assert opinion.reason


def test_a_revoked_key_is_told_to_everybody(credentials: Credentials, where: Path) -> None:
    _, complaints = judge(credentials, CASES["revoked, a list"], where)
    fingerprint = credentials.public("key").fingerprint()
    assert complaints == [f"ED25519 key {fingerprint} is revoked by file {where}/gone"]


def test_commands_get_what_the_manual_says(credentials: Credentials, where: Path) -> None:
    case = CASES["AuthorizedPrincipalsCommand is told of the certificate"]
    opinion, _ = judge(
        credentials,
        case._replace(config=case.config.replace("User root", f"User {ME.pw_name}")),
        where,
    )
    assert opinion.outcome == Outcome.ACCEPTED
    ca, key = credentials.public("ca"), credentials.public("key")
    blob = (where / "shown-cert.pub").read_text().split()[1]
    assert (where / "arguments").read_text().splitlines() == [
        "names", "x y", "7", "ssh-ed25519", ca.fingerprint(), ca.base64(), "ssh-ed25519-cert-v01@openssh.com",
        key.fingerprint(), blob, ME.pw_name, str(ME.pw_uid), ME.pw_dir,
    ]  # fmt: skip
    assert "ID x y (serial 7) CA ED25519" in opinion.key


def test_a_command_without_words_gets_the_user(credentials: Credentials, where: Path) -> None:
    config = f"AuthorizedKeysCommand {{program}}\nAuthorizedKeysCommandUser {ME.pw_name}"
    case = Case(True, config, "", files={"printed": "{key}\n"})
    opinion, _ = judge(credentials, case, where)
    assert opinion.outcome == Outcome.ACCEPTED
    assert (where / "arguments").read_text().splitlines() == [ME.pw_name]


RIGHTS = {
    "all of them": (("-n", "{user}"), "", {"pty": True, "port_forwarding": True, "agent_forwarding": True}),
    "none": (("-n", "{user}", "-O", "clear"), "", {"pty": False, "port_forwarding": False, "x11_forwarding": False}),
    "one": (("-n", "{user}", "-O", "clear", "-O", "permit-pty"), "", {"pty": True, "agent_forwarding": False}),
    "a command": (("-n", "{user}", "-O", "force-command=date"), "", {"command": "date"}),
    "less by the file": (("-n", "{user}"), "no-pty ", {"pty": False, "agent_forwarding": True}),
    "not more by the file": (("-n", "{user}", "-O", "clear"), "pty ", {"pty": False}),
    "a command by the file": (("-n", "{user}"), 'command="date" ', {"command": "date"}),
    "verify": (("-n", "{user}", "-O", "verify-required"), "", {"verify_required": True, "touch_required": True}),
    "no touch by the certificate alone": (("-n", "{user}", "-O", "no-touch-required"), "", {"touch_required": True}),
    "no touch by both": (
        ("-n", "{user}", "-O", "no-touch-required"), "no-touch-required ", {"touch_required": False}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHTS)
def test_rights_of_a_certificate(credentials: Credentials, where: Path, name: str) -> None:
    signed, line, expected = RIGHTS[name]
    config = "TrustedUserCAKeys {dir}/cas\nAuthorizedPrincipalsFile {dir}/principals"
    files = {"cas": "{ca}\n", "principals": f"{line}{{user}}\n"}
    case = Case(True, config, "", signed=("-I", "x", *signed), files=files)
    opinion, complaints = judge(credentials, case, where)
    assert opinion.key_options is not None, (opinion.reason, complaints)
    assert {key: getattr(opinion.key_options, key) for key in expected} == expected


USERS: dict[str, tuple[dict[str, Any], str, str, bool]] = {
    # the account, what changes in authorized_keys, the configuration, allowed
    "somebody": ({}, "", "", True),
    "root": ({"uid": 0}, "", "", False),
    "root, yes": ({"uid": 0}, "", "PermitRootLogin yes", True),
    "root, prohibit-password": ({"uid": 0}, "", "PermitRootLogin prohibit-password", True),
    "root, without-password": ({"uid": 0}, "", "PermitRootLogin without-password", True),
    "root, forced-commands-only": ({"uid": 0}, "", "PermitRootLogin forced-commands-only", False),
    "root, a forced command": ({"uid": 0}, 'command="x" ', "PermitRootLogin forced-commands-only", True),
    "root, a forced command and no": ({"uid": 0}, 'command="x" ', "PermitRootLogin no", False),
    "somebody, PermitRootLogin no": ({}, "", "PermitRootLogin no", True),
    "root where it comes from": ({"uid": 0}, "", "Match Address 127.0.0.1\nPermitRootLogin yes", True),
    "root from elsewhere": ({"uid": 0}, "", "Match Address 192.0.2.1\nPermitRootLogin yes", False),
    "a shell that is none": ({"shell": "/no/such/shell"}, "", "", False),
    "a shell that cannot run": ({"shell": "/etc/passwd"}, "", "", False),
    "nologin as a shell": ({"shell": "/usr/sbin/nologin"}, "", "", True),
    "without groups": ({"groups": ()}, "", "DenyGroups x", False),
}  # fmt: skip


@pytest.mark.parametrize("name", USERS)
def test_kinds_of_users(
    credentials: Credentials, where: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The account is made up; its files are read with our own rights."""
    fields, options, text, allowed = USERS[name]
    account = lookup(ME.pw_name)
    assert account is not None
    made = replace(account, **({"uid": 12345} | fields))
    monkeypatch.setattr(module.accounts, "lookup", lambda _: made)
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    shown = credentials.prepare(Case(True, keys=f"{options}{{key}}"), where, ME.pw_name, GROUP)
    config = parse(f"AuthorizedKeysFile {where}/authorized_keys\nStrictModes no\n{text}", "f")
    data = userauth.signed_data(SESSION_ID, made.name, shown.type, shown.blob, HOST)
    key = PrivateKey.load((credentials.folder / "key").read_bytes())
    login = Login(
        SESSION_ID, made.name, ("127.0.0.1", 1), ("127.0.0.1", 22), [shown.blob],
        Proof(0, shown.type, key.sign(data)),
    )  # fmt: skip
    opinion = Judge(
        login, HOST, lambda *_: config.for_connection(made.name, (), "", "127.0.0.1"), NOW
    ).judge()
    assert (opinion.outcome == Outcome.ACCEPTED) is allowed, opinion.reason


PROOFS = {
    "a certificate, signed as a key": ({"algorithm": "ssh-ed25519"}, "signature"),
    "nonsense": ({"signature": b"x"}, "signature"),
    "another key": ({"offer": 1}, ""),
}


@pytest.mark.parametrize("name", PROOFS)
def test_a_wrong_proof(credentials: Credentials, where: Path, name: str) -> None:
    fields, reason = PROOFS[name]
    opinion, _ = judge(credentials, CASES["a trusted authority"], where, **fields)
    assert opinion.outcome != Outcome.ACCEPTED
    assert reason in opinion.reason


def test_sha256_where_sha512_is_not_taken(credentials: Credentials, where: Path) -> None:
    config = "PubkeyAcceptedAlgorithms rsa-sha2-256"
    case = Case(False, config, "{rsa2048}", shows="rsa2048")
    opinion, _ = judge(credentials, case, where)
    assert opinion.outcome == Outcome.REFUSED
    assert "PubkeyAcceptedAlgorithms" in opinion.reason


TOUCH, VERIFY = 1, 4
TOKENS = {
    # the line's options, PubkeyAuthOptions, the signature's flags, allowed
    "touched": ("", "", TOUCH, True),
    "not touched": ("", "", 0, False),
    "no touch asked for": ("no-touch-required", "", 0, True),
    "no touch asked for by the line alone": ("no-touch-required", "touch-required", 0, False),
    "touched, asked for by the configuration": ("no-touch-required", "touch-required", TOUCH, True),
    "verify asked for by the line": ("verify-required", "", TOUCH, False),
    "verified, asked for by the line": ("verify-required", "", TOUCH | VERIFY, True),
    "verify asked for by the configuration": ("", "verify-required", TOUCH, False),
    "verified, asked for by the configuration": ("", "verify-required", TOUCH | VERIFY, True),
    "verified without a touch": ("", "verify-required", VERIFY, False),
    "both asked for": ("no-touch-required", "touch-required verify-required", TOUCH | VERIFY, True),
    "none": ("no-touch-required", "none", 0, True),
}


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
@pytest.mark.parametrize("name", TOKENS)
def test_security_keys(where: Path, name: str, kind: str) -> None:
    line, asked, flags, allowed = TOKENS[name]
    token: FakeToken = getattr(FakeToken, kind)()
    (where / "authorized_keys").write_text(f"{line} {token.public.line()}\n")
    text = f"AuthorizedKeysFile {where}/authorized_keys\nStrictModes no\nPermitRootLogin yes\n"
    config = parse(text + (f"PubkeyAuthOptions {asked}" if asked else ""), "qshd_config")
    data = userauth.signed_data(SESSION_ID, ME.pw_name, token.public.type, token.public.blob, HOST)
    proof = Proof(0, token.public.type, token.sign(data, flags))
    login = Login(
        SESSION_ID, ME.pw_name, ("127.0.0.1", 1), ("127.0.0.1", 22), [token.public.blob], proof
    )
    opinion = Judge(login, HOST, lambda *_: config.options, NOW).judge()
    assert (opinion.outcome == Outcome.ACCEPTED) is allowed, opinion.reason
    if not allowed:
        assert "requirement not met" in opinion.reason


NAMED = {
    # the configuration, options of the line, allowed from "box.example.org"
    "from= the name": ("", 'from="*.example.org" ', True),
    "from= but the name": ("", 'from="*,!box.example.org" ', False),
    "AllowUsers at the name": (f"AllowUsers {ME.pw_name}@box.example.org", "", True),
    "AllowUsers at another": (f"AllowUsers {ME.pw_name}@other.example.org", "", False),
    "DenyUsers at the name": (f"DenyUsers {ME.pw_name}@*.example.org", "", False),
    "AllowUsers at the address": (f"AllowUsers {ME.pw_name}@127.0.0.1", "", True),
}


@pytest.mark.parametrize("name", NAMED)
def test_names_of_clients(credentials: Credentials, where: Path, name: str) -> None:
    """With UseDNS; without it the address stands for the name."""
    text, line, allowed = NAMED[name]
    case = Case(allowed, text, f"{line}{{key}}")
    opinion, _ = judge(credentials, case, where, dns="box.example.org")
    assert (opinion.outcome == Outcome.ACCEPTED) is allowed, opinion.reason
    by_address = "address" in name or "but the name" in name or "DenyUsers" in name
    opinion, _ = judge(credentials, case, where)
    assert (opinion.outcome == Outcome.ACCEPTED) is by_address
