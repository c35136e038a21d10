"""Real OpenSSH programs as the yardstick, and a security key that exists only here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from qsh.auth.keys import PublicKey
from qsh.auth.sshwire import Writer

if TYPE_CHECKING:
    from pathlib import Path

needs_openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")

KINDS = {
    "ed25519": ("ed25519", "256"),
    "ecdsa256": ("ecdsa", "256"),
    "ecdsa384": ("ecdsa", "384"),
    "ecdsa521": ("ecdsa", "521"),
    "rsa": ("rsa", "2048"),
}


def keygen(*args: object) -> str:
    """Run ssh-keygen and give what it prints."""
    command = ["ssh-keygen", *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "", *extra: str) -> Path:
    """A key pair at ``path``; its comment is ``a comment``."""
    name, bits = KINDS[kind]
    keygen("-q", "-t", name, "-b", bits, "-N", passphrase, "-C", "a comment", *extra, "-f", path)
    return path


def public(path: Path) -> PublicKey:
    """The public key beside a private key file."""
    return PublicKey.from_line(path.with_name(path.name + ".pub").read_text())


def certify(ca: Path, key: Path, *args: str) -> PublicKey:
    """A certificate for ``key``; the arguments are those of ``ssh-keygen -s``."""
    keygen("-q", "-s", ca, *args, key.with_name(key.name + ".pub"))
    return PublicKey.from_line(key.with_name(key.name + "-cert.pub").read_text())


@dataclass
class FakeToken:
    """A FIDO key in software (OpenSSH PROTOCOL.u2f)."""

    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    public: PublicKey

    @classmethod
    def ed25519(cls) -> FakeToken:
        key = ed25519.Ed25519PrivateKey.generate()
        blob = (
            Writer().text("sk-ssh-ed25519@openssh.com").string(key.public_key().public_bytes_raw())
        )
        return cls(key, PublicKey.from_blob(blob.text("ssh:").bytes()))

    @classmethod
    def ecdsa(cls) -> FakeToken:
        key = ec.generate_private_key(ec.SECP256R1())
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        blob = Writer().text("sk-ecdsa-sha2-nistp256@openssh.com").text("nistp256").string(point)
        return cls(key, PublicKey.from_blob(blob.text("ssh:").bytes()))

    def sign(self, data: bytes, flags: int = 1, counter: int = 7) -> bytes:
        tail = Writer().byte(flags).uint32(counter).bytes()
        message = hashlib.sha256(b"ssh:").digest() + tail + hashlib.sha256(data).digest()
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            raw = self.key.sign(message)
        else:
            r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(SHA256())))
            raw = Writer().mpint(r).mpint(s).bytes()
        return Writer().text(self.public.type).string(raw).raw(tail).bytes()
