from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from qsh.auth.keys import KEY_TYPES, PublicKey, certificate_type, plain_type
from qsh.auth.sshwire import Writer
from qsh.errors import KeyFormatError
from tests.unit.auth.ssh_tools import KINDS, FakeToken, certify, keygen, public

if TYPE_CHECKING:
    from pathlib import Path

LABELS = {"ed25519": "ED25519", "rsa": "RSA"}


def rsa_key(bits: int) -> PublicKey:
    return PublicKey.from_blob(
        Writer().text("ssh-rsa").mpint(65537).mpint((1 << (bits - 1)) | 1).bytes()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_ssh_keygen(key_files: dict[str, Path], kind: str) -> None:
    key = public(key_files[kind])
    bits, fingerprint, comment = keygen("-lf", key_files[kind]).split(" ", 2)
    assert (key.bits, key.fingerprint()) == (int(bits), fingerprint)
    assert comment.strip() == f"a comment ({key.label})"
    assert keygen("-E", "md5", "-lf", key_files[kind]).split()[1] == key.fingerprint("md5")
    assert key.line() + "\n" == key_files[kind].with_name(f"{kind}.pub").read_text()
    assert key.label == LABELS.get(kind, "ECDSA")


@pytest.mark.parametrize("kind", KINDS)
def test_spki_is_what_cryptography_makes(key_files: dict[str, Path], kind: str) -> None:
    key = public(key_files[kind])
    parsed = load_der_public_key(key.spki())
    assert parsed.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == key.spki()
    assert parsed.public_bytes(
        Encoding.OpenSSH, PublicFormat.OpenSSH
    ).decode() == key.line().removesuffix(" a comment")
    assert PublicKey.from_spki(key.spki()) == key


@pytest.mark.parametrize("bits", [1024, 2047, 2048, 3072, 4096, 8192])
def test_spki_of_rsa_lengths(bits: int) -> None:
    key = rsa_key(bits)
    assert key.bits == bits
    assert PublicKey.from_spki(key.spki()) == key
    numbers = rsa.RSAPublicNumbers(65537, key.parts.modulus).public_key()
    assert numbers.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == key.spki()


def test_spki_refuses_what_is_not_the_one_encoding(key_files: dict[str, Path]) -> None:
    for kind in KINDS:
        der = public(key_files[kind]).spki()
        for broken in (der[:-1], der + b"\0", der[1:], b"", b"\x30"):
            with pytest.raises(KeyFormatError):
                PublicKey.from_spki(broken)


def test_short_rsa_parses_but_is_not_usable() -> None:
    rsa_key(2048).require_usable()
    with pytest.raises(KeyFormatError, match="2047 bits is too short: at least 2048"):
        rsa_key(2047).require_usable()
    with pytest.raises(KeyFormatError, match="too long"):
        rsa_key(16385)


@pytest.mark.parametrize("kind", KINDS)
def test_certificate_knows_its_key(key_files: dict[str, Path], kind: str) -> None:
    key = public(key_files[kind])
    certificate = certify(key_files["ca"], key_files[kind], "-I", "id", "-n", "u")
    assert certificate.is_certificate
    assert not key.is_certificate
    assert certificate.plain == key
    assert certificate.plain.type == plain_type(certificate.type) == key.type
    assert certificate.type == certificate_type(key.type)
    assert certificate.fingerprint() == key.fingerprint()
    assert certificate.label == key.label + "-CERT"
    with pytest.raises(KeyFormatError):
        certificate.spki()


@pytest.mark.parametrize(
    "token", [FakeToken.ed25519(), FakeToken.ecdsa()], ids=lambda t: t.public.label
)
def test_security_keys(token: FakeToken) -> None:
    key = token.public
    assert key.is_security_key
    assert key.label in ("ED25519-SK", "ECDSA-SK")
    assert key.parts.application == b"ssh:"
    assert PublicKey.from_line(key.line()) == key
    with pytest.raises(KeyFormatError):
        key.spki()


def test_comment_is_no_part_of_identity(key_files: dict[str, Path]) -> None:
    key = public(key_files["ed25519"])
    same = PublicKey(key.type, key.blob, "something else")
    assert key == same
    assert hash(key) == hash(same)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 ====",
        "ssh-ed25519 é",
        "ssh-dss AAAAB3NzaC1kc3M=",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAHwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ],
)
def test_bad_lines(line: str) -> None:
    with pytest.raises(KeyFormatError):
        PublicKey.from_line(line)


def test_the_type_in_the_line_must_be_that_of_the_key(key_files: dict[str, Path]) -> None:
    key = public(key_files["ecdsa256"])
    with pytest.raises(KeyFormatError, match="the line says"):
        PublicKey.from_line(f"ecdsa-sha2-nistp384 {key.base64()}")


def test_curve_must_fit_the_type(key_files: dict[str, Path]) -> None:
    point = public(key_files["ecdsa256"]).parts.public
    blob = Writer().text("ecdsa-sha2-nistp384").text("nistp256").string(point).bytes()
    with pytest.raises(KeyFormatError, match="curve"):
        PublicKey.from_blob(blob)


def test_every_type_has_a_certificate_type() -> None:
    assert certificate_type("sk-ssh-ed25519@openssh.com") == "sk-ssh-ed25519-cert-v01@openssh.com"
    assert {plain_type(certificate_type(name)) for name in KEY_TYPES} == set(KEY_TYPES)


def test_importing_auth_imports_no_cryptography() -> None:
    code = (
        "import pkgutil, importlib, sys, qsh.auth\n"
        "for m in pkgutil.iter_modules(qsh.auth.__path__):\n"
        "    importlib.import_module('qsh.auth.' + m.name)\n"
        "bad = {'cryptography', 'asyncio', 'socket', 'ssl', 'bcrypt'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stderr == b""
