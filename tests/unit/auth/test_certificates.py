from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.certificates import HOST, USER, Certificate, check_host, check_user
from qsh.auth.keys import PublicKey
from qsh.auth.private import PrivateKey
from qsh.auth.sshwire import Reader, Writer
from qsh.errors import KeyFormatError
from tests.unit.auth.ssh_tools import KINDS, FakeToken, certify, public

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_700_000_000.0
FOREVER = ("-V", "always:forever")
NOT_LISTED = "Certificate invalid: name is not a listed principal"


@pytest.fixture(scope="module")
def ca(key_files: dict[str, Path]) -> PrivateKey:
    return PrivateKey.load(key_files["ca"].read_bytes())


def forge(
    key: PublicKey,
    authority: PublicKey,
    sign: Callable[[bytes], bytes],
    *,
    kind: int = USER,
    principals: tuple[str, ...] = ("u",),
    critical: tuple[tuple[str, bytes], ...] = (),
) -> PublicKey:
    """A certificate that ssh-keygen would not make."""
    blob = Writer().text("ssh-ed25519-cert-v01@openssh.com").string(b"nonce")
    blob.string(key.parts.public).uint64(1).uint32(kind).text("id")
    names, options = Writer(), Writer()
    for name in principals:
        names.text(name)
    for option, data in critical:
        options.text(option).string(data)
    blob.string(names.bytes()).uint64(0).uint64(2**64 - 1).string(options.bytes())
    blob.string(b"").string(b"").string(authority.blob)
    return PublicKey.from_blob(blob.string(sign(blob.bytes())).bytes())


@pytest.mark.parametrize("authority", ["ca", "ecdsa521", "rsa"])
@pytest.mark.parametrize("kind", KINDS)
def test_reads_what_ssh_keygen_signs(key_files: dict[str, Path], kind: str, authority: str) -> None:
    args = ("-I", "an id", "-z", "42", "-n", "u1,u2", "-V", "20200101000000Z:20300101000000Z")
    key = certify(
        key_files[authority], key_files[kind], *args, "-O", "force-command=ls", "-O", "no-pty"
    )
    certificate = Certificate.parse(key)
    assert certificate.key.plain == public(key_files[kind])
    assert certificate.authority == public(key_files[authority])
    assert (certificate.kind, certificate.serial, certificate.key_id) == (USER, 42, "an id")
    assert certificate.principals == ("u1", "u2")
    assert (certificate.valid_after, certificate.valid_before) == (1577836800, 1893456000)
    assert [name for name, _ in certificate.critical] == ["force-command"]
    assert "permit-pty" not in dict(certificate.extensions)
    assert "permit-user-rc" in dict(certificate.extensions)
    assert Certificate.from_blob(key.blob) == certificate


def test_any_changed_byte_is_noticed(key_files: dict[str, Path]) -> None:
    key = certify(key_files["ca"], key_files["ed25519"], "-I", "id", "-n", "u")
    for at in range(0, len(key.blob), 3):
        broken = bytearray(key.blob)
        broken[at] ^= 1
        with pytest.raises(KeyFormatError):
            Certificate.from_blob(bytes(broken))
    for size in range(0, len(key.blob), 11):
        with pytest.raises(KeyFormatError):
            Certificate.from_blob(key.blob[:size])
    with pytest.raises(KeyFormatError):
        Certificate.from_blob(key.blob + b"\0")


def test_not_a_certificate(key_files: dict[str, Path]) -> None:
    with pytest.raises(KeyFormatError, match="not a certificate"):
        Certificate.parse(public(key_files["rsa"]))


def test_authority_in_a_security_key(key_files: dict[str, Path]) -> None:
    token = FakeToken.ed25519()
    key = forge(public(key_files["ed25519"]), token.public, lambda data: token.sign(data, 0))
    assert Certificate.parse(key).authority == token.public


def test_a_certificate_signs_no_certificate(key_files: dict[str, Path], ca: PrivateKey) -> None:
    middle = certify(key_files["ca"], key_files["other"], "-I", "id", "-n", "u")
    key = forge(public(key_files["ed25519"]), middle, ca.sign)
    with pytest.raises(KeyFormatError, match="signed by a certificate"):
        Certificate.parse(key)


def test_unknown_kind_and_too_many_principals(key_files: dict[str, Path], ca: PrivateKey) -> None:
    key = public(key_files["ed25519"])
    with pytest.raises(KeyFormatError, match="unknown kind 3"):
        Certificate.parse(forge(key, ca.public, ca.sign, kind=3))
    with pytest.raises(KeyFormatError, match="257 principals"):
        Certificate.parse(forge(key, ca.public, ca.sign, principals=("p",) * 257))


def test_check_host(key_files: dict[str, Path]) -> None:
    args = ("-h", "-I", "id", "-n", "a.example,*.b.example", *FOREVER)
    certificate = Certificate.parse(certify(key_files["ca"], key_files["ed25519"], *args))
    assert certificate.kind == HOST
    assert check_host(certificate, "a.example", NOW) is None
    assert check_host(certificate, "A.Example", NOW) is None
    assert check_host(certificate, "b.example", NOW) == NOT_LISTED
    assert check_host(certificate, "x.b.example", NOW) == NOT_LISTED
    assert check_host(certificate, "x.b.example", NOW, wildcards=True) is None
    assert check_host(certificate, "*.b.example", NOW) is None
    assert check_user(certificate, "u", "192.0.2.1", NOW) == (
        "Certificate invalid: not a user certificate"
    )


def test_dates_and_kind(key_files: dict[str, Path]) -> None:
    args = ("-I", "id", "-n", "u", "-V", "20200101000000Z:20300101000000Z")
    certificate = Certificate.parse(certify(key_files["ca"], key_files["ed25519"], *args))
    for now, reason in (
        (1577836799, "Certificate invalid: not yet valid"),
        (1577836800, None),
        (1893455999.9, None),
        (1893456000, "Certificate invalid: expired"),
    ):
        assert check_user(certificate, "u", "192.0.2.1", now) == reason
    assert check_host(certificate, "u", NOW) == "Certificate invalid: not a host certificate"


def test_a_comma_in_a_principal_means_nothing(key_files: dict[str, Path], ca: PrivateKey) -> None:
    """CVE-2026-35414."""
    key = forge(public(key_files["ed25519"]), ca.public, ca.sign, principals=("u,root",))
    certificate = Certificate.parse(key)
    for name in ("u", "root", ",", ""):
        assert check_user(certificate, name, "192.0.2.1", NOW) == NOT_LISTED
    assert check_user(certificate, "u,root", "192.0.2.1", NOW) is None


def test_no_principals_match_nobody(key_files: dict[str, Path], ca: PrivateKey) -> None:
    key = public(key_files["ed25519"])
    user = Certificate.parse(forge(key, ca.public, ca.sign, principals=()))
    host = Certificate.parse(forge(key, ca.public, ca.sign, kind=HOST, principals=()))
    assert check_user(user, None, "192.0.2.1", NOW) == "Certificate lacks principal list"
    assert check_host(host, "h", NOW) == "Certificate lacks principal list"


def test_critical_options(key_files: dict[str, Path], ca: PrivateKey) -> None:
    def reason(name: str, data: bytes, kind: int = USER) -> str | None:
        key = public(key_files["ed25519"])
        made = forge(key, ca.public, ca.sign, kind=kind, critical=((name, data),))
        certificate = Certificate.parse(made)
        if kind == HOST:
            return check_host(certificate, "u", NOW)
        return check_user(certificate, "u", "192.0.2.1", NOW)

    net = Writer().text("192.0.2.0/24").bytes()
    assert reason("source-address", net) is None
    assert "not permitted" in str(reason("source-address", Writer().text("10.0.0.0/8").bytes()))
    assert reason("source-address", net + b"x") == "Invalid certificate options"
    assert reason("source-address", Writer().text("*").bytes()) == "Invalid certificate options"
    assert reason("force-command", Writer().text("ls").bytes()) is None
    assert reason("verify-required", b"") is None
    assert reason("x@example", b"") == 'Certificate critical option "x@example" is not supported'
    assert reason("force-command", net, HOST) == (
        "Certificate contains unsupported critical options"
    )


def test_signature_type(key_files: dict[str, Path]) -> None:
    key = certify(key_files["rsa"], key_files["ed25519"], "-I", "id", "-n", "u")
    certificate = Certificate.parse(key)
    assert certificate.signature_type == "rsa-sha2-512"
    assert Reader(key.blob).text() == "ssh-ed25519-cert-v01@openssh.com"
