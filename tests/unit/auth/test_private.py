from __future__ import annotations

import importlib.util
import shutil
from typing import TYPE_CHECKING

import pytest

from qsh.auth.openssh_file import armour
from qsh.auth.private import PrivateKey, generate_ed25519, is_encrypted, public_of
from qsh.auth.signatures import verify
from qsh.auth.sshwire import Writer
from qsh.errors import KeyFormatError, KeyPassphraseError
from tests.unit.auth.ssh_tools import KINDS, FakeToken, keygen, make_key, public

if TYPE_CHECKING:
    from pathlib import Path

# cryptography derives the key of an encrypted OpenSSH file with this module.
needs_bcrypt = pytest.mark.skipif(
    importlib.util.find_spec("bcrypt") is None, reason="the bcrypt module is not installed"
)


def check(key: PrivateKey, expected: Path) -> None:
    assert key.public == public(expected)
    assert verify(key.public, key.sign(b"data"), b"data")
    assert repr(key) == f"<PrivateKey {key.public.type} {key.public.fingerprint()}>"


@pytest.mark.parametrize("kind", KINDS)
def test_openssh_files(key_files: dict[str, Path], kind: str) -> None:
    data = key_files[kind].read_bytes()
    assert not is_encrypted(data)
    check(key := PrivateKey.load(data), key_files[kind])
    assert key.public.comment == "a comment"
    assert public_of(data) == key.public


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_derived_is_the_same_for_every_reader(
    key_files: dict[str, Path], kind: str
) -> None:
    first, second = (PrivateKey.load(key_files[kind].read_bytes()) for _ in range(2))
    assert first.derive(b"a") == second.derive(b"a")
    assert len({first.derive(b"a"), first.derive(b"b"), first.derive(b"")}) == 3
    assert len(first.derive(b"a")) == 32
    other = PrivateKey.load(generate_ed25519()[0].encode())
    assert other.derive(b"a") != first.derive(b"a")


@pytest.mark.parametrize("form", ["PEM", "PKCS8"])
@pytest.mark.parametrize("kind", ["rsa", "ecdsa384"])
@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_pem_files(
    key_files: dict[str, Path], tmp_path: Path, form: str, kind: str, passphrase: str
) -> None:
    path = tmp_path / "key"
    shutil.copy(key_files[kind], path)
    keygen("-q", "-p", "-m", form, "-P", "", "-N", passphrase, "-f", path)
    data = path.read_bytes()
    assert is_encrypted(data) is bool(passphrase)
    assert public_of(data) is None
    check(PrivateKey.load(data, passphrase.encode() or None), key_files[kind])
    if passphrase:
        with pytest.raises(KeyPassphraseError, match="key needs a passphrase"):
            PrivateKey.load(data)
        with pytest.raises(KeyPassphraseError, match="wrong passphrase for mine"):
            PrivateKey.load(data, b"wrong", "mine")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("encrypted") / "key", "ed25519", "secret", "-a", "4")


def test_encrypted_openssh_file_shows_its_public_key(encrypted: Path) -> None:
    data = encrypted.read_bytes()
    assert is_encrypted(data)
    assert public_of(data) == public(encrypted)
    with pytest.raises(KeyPassphraseError, match="needs a passphrase"):
        PrivateKey.load(data)


@needs_bcrypt
def test_encrypted_openssh_file(encrypted: Path) -> None:
    check(PrivateKey.load(encrypted.read_bytes(), b"secret"), encrypted)
    with pytest.raises(KeyPassphraseError, match="wrong passphrase"):
        PrivateKey.load(encrypted.read_bytes(), b"wrong")


def test_generated_key_is_read_by_ssh_keygen(tmp_path: Path) -> None:
    for comment in ("", "c", "root@höst", "0123456789abcdef"):
        text, key = generate_ed25519(comment)
        path = tmp_path / "host_key"
        path.write_text(text)
        path.chmod(0o600)
        assert keygen("-y", "-f", path).strip() == key.line()
        loaded = PrivateKey.load(text.encode())
        assert loaded.public == key
        assert loaded.public.comment == comment


def test_security_key_file_points_to_the_agent() -> None:
    blob = FakeToken.ed25519().public.blob
    outer = Writer().raw(b"openssh-key-v1\0").text("none").text("none").string(b"").uint32(1)
    data = armour(outer.string(blob).string(b"\0" * 64).bytes()).encode()
    with pytest.raises(KeyFormatError, match="ssh-add id_sk"):
        PrivateKey.load(data, None, "id_sk")


def test_short_rsa_key(tmp_path: Path) -> None:
    keygen("-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", tmp_path / "short")
    with pytest.raises(KeyFormatError, match="1024 bits is too short"):
        PrivateKey.load((tmp_path / "short").read_bytes())


def test_broken_files(key_files: dict[str, Path]) -> None:
    data = key_files["ed25519"].read_bytes()
    lines = data.splitlines(keepends=True)
    broken = [b"", b"nonsense", data[:60], b"".join(lines[:2] + lines[3:]), lines[0] + lines[-1]]
    for text in broken:
        with pytest.raises(KeyFormatError):
            PrivateKey.load(text)
