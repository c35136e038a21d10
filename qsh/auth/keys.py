"""Public keys of SSH (RFC 4253 6.6, RFC 5656, RFC 8709, OpenSSH PROTOCOL.u2f and
PROTOCOL.certkeys).

Two keys are equal when their blobs are equal. That is exact because a blob is accepted in its
shortest form only. A certificate is a key whose ``type`` ends in ``-cert-v01@openssh.com``;
``plain`` is the key in it.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, NamedTuple

from qsh.auth import spki
from qsh.auth.sshwire import Reader, Writer
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "CERT_SUFFIX",
    "KEY_TYPES",
    "RSA_MINIMUM_BITS",
    "PublicKey",
    "certificate_type",
    "plain_type",
]

CERT_SUFFIX = "-cert-v01@openssh.com"

RSA_MINIMUM_BITS = 2048
"""Shortest RSA key that may sign or verify (NIST SP 800-131A; OpenSSH's RequiredRSASize allows
1024)."""

RSA_MAXIMUM_BITS = 16384
"""As OpenSSH (OPENSSL_RSA_MAX_MODULUS_BITS)."""


class Form(NamedTuple):
    """How the blob of one key type is laid out."""

    label: str
    bits: int
    """0: as long as the modulus."""
    curve: str
    security_key: bool


KEY_TYPES: dict[str, Form] = {
    "ssh-ed25519": Form("ED25519", 256, "", False),
    "ecdsa-sha2-nistp256": Form("ECDSA", 256, "nistp256", False),
    "ecdsa-sha2-nistp384": Form("ECDSA", 384, "nistp384", False),
    "ecdsa-sha2-nistp521": Form("ECDSA", 521, "nistp521", False),
    "ssh-rsa": Form("RSA", 0, "", False),
    "sk-ssh-ed25519@openssh.com": Form("ED25519-SK", 256, "", True),
    "sk-ecdsa-sha2-nistp256@openssh.com": Form("ECDSA-SK", 256, "nistp256", True),
}


def certificate_type(key_type: str) -> str:
    """The certificate type of a plain type: ``sk-ssh-ed25519-cert-v01@openssh.com``."""
    return key_type.removesuffix("@openssh.com") + CERT_SUFFIX


_PLAIN = {certificate_type(name): name for name in KEY_TYPES}


def plain_type(key_type: str) -> str:
    """The type without the certificate; a KeyFormatError for a type that is not known."""
    plain = _PLAIN.get(key_type, key_type)
    if plain not in KEY_TYPES:
        raise KeyFormatError(f'unknown key type "{key_type[:64]}"')
    return plain


class Parts(NamedTuple):
    """The numbers in a blob; which of them are set depends on the type."""

    public: bytes = b""
    """Ed25519: the key; ECDSA: the point."""
    exponent: int = 0
    modulus: int = 0
    application: bytes = b""


def read_parts(reader: Reader, plain: str) -> Parts:
    """Take the type's own fields (not the type name) and check their shape."""
    form = KEY_TYPES[plain]
    if plain == "ssh-rsa":
        exponent, modulus = reader.mpint(canonical=True), reader.mpint(canonical=True)
        if modulus.bit_length() > RSA_MAXIMUM_BITS:
            raise KeyFormatError(f"an RSA key of {modulus.bit_length()} bits is too long")
        if not modulus & 1 or modulus < 3 or exponent < 3 or not exponent & 1:
            raise KeyFormatError("not an RSA key")
        return Parts(exponent=exponent, modulus=modulus)
    if form.curve:
        if reader.string() != form.curve.encode():
            raise KeyFormatError("the curve does not fit the key type")
        public = reader.string()
        if len(public) != 1 + 2 * spki.CURVES[form.curve] or public[0] != 4:
            raise KeyFormatError(f"not a point of {form.curve}")
    else:
        public = reader.string()
        if len(public) != 32:
            raise KeyFormatError("an Ed25519 key has 32 bytes")
    return Parts(public=public, application=reader.text().encode() if form.security_key else b"")


def _words(line: str) -> list[str]:
    """Up to three words; blanks and tabs separate, the third is all the rest."""
    words: list[str] = []
    for _ in range(2):
        blank, tab = line.find(" "), line.find("\t")
        end = min(blank, tab) if min(blank, tab) >= 0 else max(blank, tab)
        if end < 0:
            break
        words.append(line[:end])
        line = line[end:].lstrip(" \t")
    return [*words, line]


class PublicKey:
    """A public key or a certificate. Make it with one of the class methods: they check the blob.

    Not a dataclass: importing those and making one takes longer than reading a key.
    """

    __slots__ = ("blob", "comment", "type")

    type: Final[str]
    blob: Final[bytes]
    comment: Final[str]

    def __init__(self, type: str, blob: bytes, comment: str = "") -> None:
        self.type = type
        self.blob = blob
        self.comment = comment

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.blob == other.blob and self.type == other.type

    def __hash__(self) -> int:
        return hash(self.blob)

    def __repr__(self) -> str:
        return f"PublicKey(type={self.type!r}, blob={self.blob!r}, comment={self.comment!r})"

    @classmethod
    def from_blob(cls, blob: bytes, comment: str = "") -> PublicKey:
        """Check and wrap the wire form. Of a certificate only the key is read (see
        certificates.py)."""
        reader = Reader(blob)
        key_type = reader.text()
        plain = plain_type(key_type)
        if plain != key_type:
            reader.string()  # the nonce
            read_parts(reader, plain)
        else:
            read_parts(reader, plain)
            reader.end()
        return cls(key_type, blob, comment)

    @classmethod
    def from_line(cls, line: str) -> PublicKey:
        """Read ``TYPE BASE64 [COMMENT]``: a ``.pub`` file or the key part of an authorized_keys
        line."""
        words = _words(line.strip(" \t\r\n"))
        if len(words) < 2:
            raise KeyFormatError("no key in this line")
        plain_type(words[0])
        try:
            blob = binascii.a2b_base64(words[1].encode("ascii"), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError):
            raise KeyFormatError("the key is not base64") from None
        key = cls.from_blob(blob, words[2] if len(words) > 2 else "")
        if key.type != words[0]:
            raise KeyFormatError(f"the line says {words[0]}, the key is {key.type}")
        return key

    @classmethod
    def from_spki(cls, der: bytes) -> PublicKey:
        """Read the raw public key of TLS (RFC 7250)."""
        if public := spki.decode_ed25519(der):
            blob = Writer().text("ssh-ed25519").string(public).bytes()
        elif ec := spki.decode_ec(der):
            curve, point = ec
            blob = Writer().text(f"ecdsa-sha2-{curve}").text(curve).string(point).bytes()
        elif rsa := spki.decode_rsa(der):
            blob = Writer().text("ssh-rsa").mpint(rsa[0]).mpint(rsa[1]).bytes()
        else:
            raise KeyFormatError("a public key of an unknown kind")
        return cls.from_blob(blob)

    @property
    def is_certificate(self) -> bool:
        """Whether this is a certificate."""
        return self.type in _PLAIN

    @property
    def is_security_key(self) -> bool:
        """Whether the key lives in a FIDO token."""
        return self.type.startswith("sk-")

    @property
    def plain_type(self) -> str:
        """The type without the certificate."""
        return plain_type(self.type)

    @property
    def plain(self) -> PublicKey:
        """The key without the certificate."""
        if not self.is_certificate:
            return self
        reader, plain = self._fields()
        start = reader.offset
        read_parts(reader, plain)
        blob = Writer().text(plain).raw(self.blob[start : reader.offset]).bytes()
        return PublicKey(plain, blob, self.comment)

    @property
    def parts(self) -> Parts:
        """The numbers of the key."""
        reader, plain = self._fields()
        return read_parts(reader, plain)

    def _fields(self) -> tuple[Reader, str]:
        reader = Reader(self.blob)
        reader.string()
        if self.is_certificate:
            reader.string()
        return reader, self.plain_type

    @property
    def label(self) -> str:
        """OpenSSH's short name: ``ED25519``, ``RSA-CERT``."""
        return KEY_TYPES[self.plain_type].label + ("-CERT" if self.is_certificate else "")

    @property
    def bits(self) -> int:
        """The size as ``ssh-keygen -l`` shows it."""
        return KEY_TYPES[self.plain_type].bits or self.parts.modulus.bit_length()

    def require_usable(self) -> None:
        """A KeyFormatError for an RSA key that is too short to be trusted."""
        if self.plain_type == "ssh-rsa" and self.bits < RSA_MINIMUM_BITS:
            raise KeyFormatError(
                f"an RSA key of {self.bits} bits is too short: "
                f"at least {RSA_MINIMUM_BITS} are needed"
            )

    def fingerprint(self, algorithm: str = "sha256") -> str:
        """``SHA256:…`` or ``MD5:aa:bb:…`` of the plain key (OpenSSH sshkey.c,
        sshkey_fingerprint)."""
        digest = self.digest(algorithm)
        if algorithm == "md5":
            return "MD5:" + digest.hex(":")
        return "SHA256:" + binascii.b2a_base64(digest, newline=False).decode().rstrip("=")

    def digest(self, algorithm: str = "sha256") -> bytes:
        """The hash that the fingerprint shows."""
        blob = self.plain.blob
        if algorithm == "sha256":
            from hashlib import sha256

            return sha256(blob).digest()
        if algorithm == "md5":
            from hashlib import md5

            return md5(blob, usedforsecurity=False).digest()
        raise KeyFormatError(f'unknown fingerprint hash "{algorithm}"')

    def spki(self) -> bytes:
        """The key as TLS carries it; certificates and security keys have no such form."""
        if self.is_security_key or self.is_certificate:
            raise KeyFormatError(f"{self.type} has no form in TLS")
        parts = self.parts
        if self.type == "ssh-rsa":
            return spki.encode_rsa(parts.exponent, parts.modulus)
        curve = KEY_TYPES[self.type].curve
        return spki.encode_ec(curve, parts.public) if curve else spki.encode_ed25519(parts.public)

    def base64(self) -> str:
        """The blob as files carry it."""
        return binascii.b2a_base64(self.blob, newline=False).decode()

    def line(self) -> str:
        """``TYPE BASE64 [COMMENT]`` without a line end."""
        return f"{self.type} {self.base64()}" + (f" {self.comment}" if self.comment else "")
