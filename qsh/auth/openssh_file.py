"""The container of ``-----BEGIN OPENSSH PRIVATE KEY-----`` (OpenSSH PROTOCOL.key, sshkey.c).

Read here: whether it is encrypted, which public key it holds, and of a plain file the comment (and
in seed_key.py an Ed25519 key). Decrypting is left to ``cryptography``. Writing is ours because
``cryptography`` writes no comment.
"""

from __future__ import annotations

import binascii
from typing import NamedTuple

from qsh.auth.keys import PublicKey
from qsh.auth.sshwire import Reader, Writer
from qsh.errors import KeyFormatError

__all__ = ["OpensshFile", "armour", "encode_ed25519", "is_encrypted", "public_of"]

BEGIN, END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
MAGIC = b"openssh-key-v1\0"
LINE = 70
"""Base64 characters per line, as ssh-keygen writes."""
BLOCK = 8
"""Padding unit of an unencrypted file."""


class OpensshFile(NamedTuple):
    """The outer layer of a private key file."""

    cipher: str
    public: PublicKey
    sealed: bytes
    """The private part, encrypted unless ``cipher`` is ``none``."""

    @property
    def is_encrypted(self) -> bool:
        """Whether a passphrase is needed."""
        return self.cipher != "none"

    @property
    def comment(self) -> str:
        """The key's comment; empty when encrypted or unreadable."""
        if self.is_encrypted:
            return ""
        try:
            return _last_text(self.sealed)
        except KeyFormatError:
            return ""

    @staticmethod
    def is_one(data: bytes) -> bool:
        """Whether ``data`` looks like this format."""
        return data.lstrip().startswith(BEGIN.encode())

    @classmethod
    def parse(cls, data: bytes) -> OpensshFile:
        """Read the outer layer."""
        text = data.decode("ascii", "replace").strip()
        body, end, _ = text.removeprefix(BEGIN).partition(END)
        if not text.startswith(BEGIN) or not end:
            raise KeyFormatError("not an OpenSSH private key")
        try:
            raw = binascii.a2b_base64("".join(body.split()).encode(), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError):
            raise KeyFormatError("the private key is not base64") from None
        reader = Reader(raw)
        if reader.take(len(MAGIC)) != MAGIC:
            raise KeyFormatError("not an OpenSSH private key")
        cipher = reader.text()
        reader.text()  # the key derivation
        reader.string()  # and its options
        if reader.uint32() != 1:
            raise KeyFormatError("a private key file must hold one key")
        return cls(cipher, PublicKey.from_blob(reader.string()), reader.string())


def is_encrypted(data: bytes) -> bool:
    """Whether a private key file needs a passphrase."""
    if OpensshFile.is_one(data):
        return OpensshFile.parse(data).is_encrypted
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data or b"Proc-Type: 4,ENCRYPTED" in data


def public_of(data: bytes) -> PublicKey | None:
    """The public key in a private key file that need not be decrypted for it.

    None for PEM and PKCS#8, which show nothing without the passphrase: read the ``.pub`` file then.
    """
    return OpensshFile.parse(data).public if OpensshFile.is_one(data) else None


def _last_text(sealed: bytes) -> str:
    """The comment is the last string before the padding 1, 2, 3…: fields of unknown number precede
    it."""
    reader = Reader(sealed)
    reader.take(8)  # two equal check numbers
    field = b""
    while reader.remaining >= BLOCK or (
        reader.remaining and not _is_padding(sealed[reader.offset :])
    ):
        field = reader.string()
    return field.decode("utf-8", "replace")


def _is_padding(tail: bytes) -> bool:
    return tail == bytes(range(1, len(tail) + 1))


def armour(raw: bytes) -> str:
    """The text form of a container."""
    base64 = binascii.b2a_base64(raw, newline=False).decode()
    lines = [base64[start : start + LINE] for start in range(0, len(base64), LINE)]
    return "\n".join((BEGIN, *lines, END, ""))


def encode_ed25519(public: bytes, seed: bytes, comment: str, check: int) -> str:
    """An unencrypted Ed25519 key file; ``check`` is any random number."""
    blob = Writer().text("ssh-ed25519").string(public).bytes()
    private = (
        Writer().uint32(check).uint32(check).raw(blob).string(seed + public).text(comment).bytes()
    )
    private += bytes(range(1, -len(private) % BLOCK + 1))
    outer = Writer().raw(MAGIC).text("none").text("none").string(b"").uint32(1)
    return armour(outer.string(blob).string(private).bytes())
