"""An Ed25519 key file without ``cryptography``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.keys import PublicKey
from qsh.auth.openssh_file import OpensshFile, armour, encode_ed25519
from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.auth.resume_proof import public_blob, signature_blob
from qsh.auth.seed_key import SeedKey
from qsh.auth.signatures import verify
from qsh.errors import KeyFormatError
from qsh.quic import ed25519_public, ed25519_sign

if TYPE_CHECKING:
    from pathlib import Path


def test_signs_what_cryptography_would() -> None:
    text, public = generate_ed25519("mine")
    key = SeedKey.load(text.encode(), ed25519_sign)
    assert key is not None
    assert key.public == public
    signature = key.sign(b"data")
    assert signature == PrivateKey.load(text.encode()).sign(b"data")
    assert verify(public, signature, b"data")
    assert key.sign(b"data", "ssh-ed25519-cert-v01@openssh.com") == signature


def test_another_algorithm_is_refused() -> None:
    key = SeedKey.load(generate_ed25519()[0].encode(), ed25519_sign)
    assert key is not None
    with pytest.raises(KeyFormatError, match="cannot sign rsa-sha2-512"):
        key.sign(b"data", "rsa-sha2-512")


def test_the_repr_is_harmless() -> None:
    text, public = generate_ed25519()
    assert repr(SeedKey.load(text.encode(), ed25519_sign)) == f"<SeedKey {public.fingerprint()}>"


@pytest.mark.parametrize("kind", ["rsa", "ecdsa256"])
def test_other_types_are_left_to_private(key_files: dict[str, Path], kind: str) -> None:
    path = key_files.get(kind)
    if path is not None:
        assert SeedKey.load(path.read_bytes(), ed25519_sign) is None


def test_what_does_not_fit_is_left_to_private() -> None:
    seed, public = bytes(32), generate_ed25519()[1].parts.public
    fine = encode_ed25519(public, seed, "", 7).encode()
    assert SeedKey.load(fine, ed25519_sign) is not None
    other = generate_ed25519()[1].parts.public
    sealed = OpensshFile.parse(fine).sealed
    raw = OpensshFile.parse(fine).public.blob
    assert SeedKey.load(fine.replace(b"BEGIN OPENSSH", b"BEGIN OTHER"), ed25519_sign) is None
    assert SeedKey.load(b"", ed25519_sign) is None
    assert SeedKey.load(_with(raw, sealed.replace(public, other)), ed25519_sign) is None
    assert SeedKey.load(_with(raw, b"\1" + sealed[1:]), ed25519_sign) is None
    assert SeedKey.load(_with(raw, sealed[:60]), ed25519_sign) is None


def _with(public: bytes, sealed: bytes) -> bytes:
    from qsh.auth.openssh_file import MAGIC
    from qsh.auth.sshwire import Writer

    outer = Writer().raw(MAGIC).text("none").text("none").string(b"").uint32(1)
    return armour(outer.string(public).string(sealed).bytes()).encode()


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ed25519_sign(b"short", b"data")


def test_the_public_half_of_a_seed() -> None:
    seed = bytes(range(32))
    blob = public_blob(ed25519_public(seed))
    assert verify(PublicKey.from_blob(blob), signature_blob(ed25519_sign(seed, b"data")), b"data")
    with pytest.raises(ValueError, match="32 bytes"):
        ed25519_public(seed[1:])
