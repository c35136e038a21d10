from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.algorithms import tls_schemes
from qsh.auth.keys import PublicKey, certificate_type
from qsh.auth.private import PrivateKey
from qsh.auth.signatures import (
    SkDetails,
    signature_algorithm,
    signature_algorithms,
    verify,
    verify_sk,
)
from qsh.auth.sshwire import Reader, Writer
from qsh.errors import KeyFormatError
from tests.support.tls_signatures import verify_tls
from tests.unit.auth.ssh_tools import KINDS, FakeToken, public

if TYPE_CHECKING:
    from pathlib import Path

SK_TYPES = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")


@pytest.fixture(scope="module")
def keys(key_files: dict[str, Path]) -> dict[str, PrivateKey]:
    return {kind: PrivateKey.load(key_files[kind].read_bytes()) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_good_and_broken_signatures(keys: dict[str, PrivateKey], kind: str) -> None:
    key = keys[kind]
    for algorithm in signature_algorithms(key.public.type):
        signature = key.sign(b"data", algorithm)
        assert verify(key.public, signature, b"data")
        assert verify(key.public, signature, b"data", algorithm)
        assert not verify(key.public, signature, b"date")
        assert not verify(key.public, signature + b"\0", b"data")
        for size in range(0, len(signature), 7):
            assert not verify(key.public, signature[:size], b"data")
        for at in range(0, len(signature), 5):
            broken = bytearray(signature)
            broken[at] ^= 1
            assert not verify(key.public, bytes(broken), b"data")


def test_algorithms_match_exactly(keys: dict[str, PrivateKey]) -> None:
    """CVE-2026-35387: naming one ECDSA algorithm must not allow the others."""
    names = [a for k in keys.values() for a in signature_algorithms(k.public.type)]
    for key in keys.values():
        for made in signature_algorithms(key.public.type):
            signature = key.sign(b"data", made)
            for asked in names:
                assert verify(key.public, signature, b"data", asked) is (made == asked)
                if asked not in signature_algorithms(key.public.type):
                    relabelled = Writer().text(asked).raw(signature[4 + len(made) :]).bytes()
                    assert not verify(key.public, relabelled, b"data")


def test_another_key_of_the_same_type(
    keys: dict[str, PrivateKey], key_files: dict[str, Path]
) -> None:
    assert not verify(public(key_files["other"]), keys["ed25519"].sign(b"data"), b"data")


def test_sha1_is_never_accepted(keys: dict[str, PrivateKey]) -> None:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA1

    raw = keys["rsa"]._rsa.sign(b"data", PKCS1v15(), SHA1())
    signature = Writer().text("ssh-rsa").string(raw).bytes()
    assert not verify(keys["rsa"].public, signature, b"data")
    assert not verify(keys["rsa"].public, signature, b"data", "ssh-rsa")
    with pytest.raises(KeyFormatError):
        keys["rsa"].sign(b"data", "ssh-rsa")


def test_a_key_that_may_not_be_used_verifies_nothing(keys: dict[str, PrivateKey]) -> None:
    short = Writer().text("ssh-rsa").mpint(65537).mpint((1 << 1023) | 1).bytes()
    off_curve = Writer().text("ecdsa-sha2-nistp256").text("nistp256").string(b"\4" + b"\1" * 64)
    for blob, kind in ((short, "rsa"), (off_curve.bytes(), "ecdsa256")):
        key = PublicKey.from_blob(blob)
        assert not verify(key, keys[kind].sign(b"data"), b"data")
        assert verify_sk(key, keys[kind].sign(b"data"), b"data") is None
        for scheme in tls_schemes(key.type):
            assert not verify_tls(key, scheme, keys[kind].sign_tls(scheme, b"data"), b"data")


def test_a_short_rsa_key_that_signs_well_is_still_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA512

    key = rsa.generate_private_key(65537, 1024)
    numbers = key.public_key().public_numbers()
    blob = Writer().text("ssh-rsa").mpint(numbers.e).mpint(numbers.n).bytes()
    raw = key.sign(b"data", PKCS1v15(), SHA512())
    signature = Writer().text("rsa-sha2-512").string(raw).bytes()
    assert not verify(PublicKey.from_blob(blob), signature, b"data")


@pytest.mark.parametrize(
    "token", [FakeToken.ed25519(), FakeToken.ecdsa()], ids=lambda t: t.public.label
)
class TestSecurityKeys:
    """OpenSSH PROTOCOL.u2f; CVE-2026-39831: a signature without touch was accepted."""

    def test_flags_and_counter(self, token: FakeToken) -> None:
        details = verify_sk(token.public, token.sign(b"data", 5, 99), b"data")
        assert details == SkDetails(5, 99)
        assert details.touched
        assert details.verified
        assert verify_sk(token.public, token.sign(b"data"), b"date") is None

    def test_touch_is_required_by_default(self, token: FakeToken) -> None:
        assert verify(token.public, token.sign(b"data", 1), b"data")
        assert not verify(token.public, token.sign(b"data", 0), b"data")
        assert not verify(token.public, token.sign(b"data", 4), b"data")

    def test_flags_and_counter_are_signed(self, token: FakeToken) -> None:
        signature = bytearray(token.sign(b"data", 0))
        signature[-5] = 1
        assert verify_sk(token.public, bytes(signature), b"data") is None
        assert not verify(token.public, bytes(signature), b"data")

    def test_application_is_signed(self, token: FakeToken) -> None:
        blob = token.public.blob.removesuffix(b"ssh:") + b"ssg:"
        assert not verify(PublicKey.from_blob(blob), token.sign(b"data"), b"data")

    def test_no_plain_signature(self, token: FakeToken) -> None:
        reader = Reader(token.sign(b"data"))
        plain = Writer().string(reader.string()).string(reader.string()).bytes()
        assert verify_sk(token.public, plain, b"data") is None


def test_refusals_of_a_security_key() -> None:
    assert SkDetails(1, 0).refusal() is None
    assert "touch" in str(SkDetails(0, 0).refusal())
    assert SkDetails(0, 0).refusal(touch_required=False) is None
    assert "verification" in str(SkDetails(1, 0).refusal(verify_required=True))
    assert SkDetails(5, 0).refusal(verify_required=True) is None


@pytest.mark.parametrize("kind", KINDS)
def test_tls(keys: dict[str, PrivateKey], kind: str) -> None:
    key = keys[kind]
    for scheme in tls_schemes(key.public.type):
        signature = key.sign_tls(scheme, b"message")
        assert verify_tls(key.public, scheme, signature, b"message")
        assert not verify_tls(key.public, scheme, signature, b"massage")
        for other in (0x0807, 0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806):
            if other != scheme:
                assert not verify_tls(key.public, other, signature, b"message")
            if other not in tls_schemes(key.public.type):
                with pytest.raises(KeyFormatError):
                    key.sign_tls(other, b"message")


def test_names_of_algorithms() -> None:
    assert signature_algorithms("ssh-rsa") == ("rsa-sha2-512", "rsa-sha2-256")
    assert signature_algorithm("rsa-sha2-512-cert-v01@openssh.com") == "rsa-sha2-512"
    for name in ("ssh-ed25519", "ecdsa-sha2-nistp384", *SK_TYPES):
        assert signature_algorithms(name) == signature_algorithms(certificate_type(name)) == (name,)
        assert signature_algorithm(name) == signature_algorithm(certificate_type(name)) == name
    assert all(tls_schemes(name) == () for name in SK_TYPES)
