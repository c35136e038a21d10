"""The monitor's keys: what is signed, what never is (docs/protocol.md 3.2 and 8.1)."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from qsh.auth import signatures
from qsh.auth.private import PrivateKey
from qsh.errors import RemoteProtocolError, StartupError
from qsh.server import host_keys
from tests.support.tls_signatures import verify_tls

if TYPE_CHECKING:
    from pathlib import Path

LABEL = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
MESSAGE = LABEL + hashlib.sha256(b"transcript").digest()


def make(path: Path, kind: str, *more: str) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *more, "-N", "", "-f", str(path)], check=True)
    return str(path)


def request(key: int, scheme: int, message: bytes) -> bytes:
    return bytes([key]) + scheme.to_bytes(2, "big") + message


@pytest.mark.parametrize(
    ("kind", "bits", "scheme"),
    [
        ("ed25519", (), 0x0807),
        ("ecdsa", ("-b", "256"), 0x0403),
        ("ecdsa", ("-b", "384"), 0x0503),
        ("ecdsa", ("-b", "521"), 0x0603),
        ("rsa", ("-b", "2048"), 0x0804),
        ("rsa", ("-b", "2048"), 0x0806),
    ],
)
def test_both_signatures_verify(
    tmp_path: Path, kind: str, bits: tuple[str, ...], scheme: int
) -> None:
    keys = host_keys.load([make(tmp_path / "key", kind, *bits)], [], "", pytest.fail)
    parsed = host_keys.parse_signing_request(request(0, scheme, MESSAGE))
    tls, ssh = keys.sign(parsed)
    public = keys.public[0]
    assert verify_tls(public, scheme, tls, MESSAGE)
    session_id = host_keys.session_id_of(MESSAGE)
    assert session_id == b"qsh/1 session\0" + hashlib.sha256(MESSAGE).digest()
    assert signatures.verify(public, ssh, session_id)
    assert not signatures.verify(public, ssh, session_id + b"x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        request(0, 0x0807, b""),
        request(0, 0x0807, MESSAGE[1:]),
        request(0, 0x0807, MESSAGE + b"x"),
        request(0, 0x0807, LABEL.replace(b"server", b"client") + bytes(32)),
        request(0, 0x0807, b"qsh/1 session\0" + bytes(32)),
        request(0, 0x0807, MESSAGE + bytes(600)),
    ],
)
def test_nothing_else_is_signed(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        host_keys.parse_signing_request(body)


def test_an_unknown_key_number_is_refused(tmp_path: Path) -> None:
    keys = host_keys.load([make(tmp_path / "key", "ed25519")], [], "", pytest.fail)
    with pytest.raises(RemoteProtocolError):
        keys.sign(host_keys.parse_signing_request(request(1, 0x0807, MESSAGE)))


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o644])
def test_key_files_that_others_reach_are_refused(tmp_path: Path, mode: int) -> None:
    path = make(tmp_path / "key", "ed25519")
    os.chmod(path, mode)
    with pytest.raises(StartupError, match="UNPROTECTED PRIVATE KEY FILE"):
        host_keys.load([path], [], "", pytest.fail)


def test_an_encrypted_key_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(path)], check=True
    )
    with pytest.raises(StartupError, match=f"{path} is encrypted"):
        host_keys.load([str(path)], [], "", pytest.fail)


def test_an_own_key_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_keys, "SYSTEM_KEYS", ())
    path = tmp_path / "new" / "key"
    first = host_keys.load([], [], str(path), pytest.fail).public
    assert path.stat().st_mode & 0o777 == 0o600
    assert host_keys.load([], [], str(path), pytest.fail).public == first
    assert PrivateKey.load(path.read_bytes(), None, "key").public == first[0]


def test_system_keys_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = make(tmp_path / "system", "ecdsa")
    monkeypatch.setattr(host_keys, "SYSTEM_KEYS", (str(tmp_path / "missing"), system))
    own = tmp_path / "own"
    assert [key.type for key in host_keys.load([], [], str(own), pytest.fail).public] == [
        "ecdsa-sha2-nistp256"
    ]
    assert not own.exists()


def test_nothing_to_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_keys, "SYSTEM_KEYS", ())
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StartupError, match="none can be made"):
        host_keys.load([], [], str(blocked / "key"), pytest.fail)


def test_no_new_identity_beside_keys_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make(tmp_path / "system", "ed25519")
    os.chmod(system, 0o644)
    monkeypatch.setattr(host_keys, "SYSTEM_KEYS", (system,))
    own = tmp_path / "own"
    with pytest.raises(StartupError, match="UNPROTECTED"):
        host_keys.load([], [], str(own), pytest.fail)
    assert not own.exists()


@pytest.mark.parametrize(
    ("signed", "key", "reason"),
    [
        (("-h", "-n", "host"), "key", ""),
        (("-h", "-n", "host", "-V", "20200101:20210101"), "key", ""),
        (("-n", "anna"), "key", "not a host certificate"),
        (("-h", "-n", "host"), "other", "No matching private key"),
        (None, "key", "not a certificate"),
    ],
)
def test_certificates_of_host_keys(
    tmp_path: Path, signed: tuple[str, ...] | None, key: str, reason: str
) -> None:
    paths = {name: make(tmp_path / name, "ed25519") for name in ("key", "other", "ca")}
    file = f"{paths[key]}.pub"
    if signed is not None:
        words = ["ssh-keygen", "-q", "-s", paths["ca"], "-I", "x", *signed, file]
        subprocess.run(words, check=True)
        file = f"{paths[key]}-cert.pub"
    if reason:
        with pytest.raises(StartupError, match=reason):
            host_keys.load([paths["key"]], [file], "", print)
    else:
        loaded = host_keys.load([paths["key"]], [file, "none"], "", print)
        assert len(loaded.certificates) == 1


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"could not load host certificate .*No such file"):
        host_keys.load([make(tmp_path / "key", "ed25519")], [f"{tmp_path}/none"], "", print)
