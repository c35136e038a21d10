"""Verifying signatures, in SSH's form and in TLS's (RFC 4253, 5656, 8332, 8709; PROTOCOL.u2f; RFC
8446 4.2.3).

The contract: verify_* never raise. Whatever is not good -- a wrong or malformed signature, another
algorithm, a key that may not be used (too short, not on its curve) -- gives False or None;
``PublicKey.require_usable`` has the words for a key that is too short. Every comparison of
algorithm names is for equality (CVE-2026-35387: naming one ECDSA algorithm allowed all of them).
SHA-1 (``ssh-rsa`` as a signature) is never accepted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsh.auth.algorithms import signature_algorithm, signature_algorithms
from qsh.auth.keys import KEY_TYPES
from qsh.auth.sshwire import Reader
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

    from qsh.auth.keys import PublicKey

__all__ = [
    "SkDetails",
    "hash_of",
    "signature_algorithm",
    "signature_algorithms",
    "tls_hash",
    "verify",
    "verify_sk",
]

_HASHES = {
    "ecdsa-sha2-nistp256": "SHA256",
    "ecdsa-sha2-nistp384": "SHA384",
    "ecdsa-sha2-nistp521": "SHA512",
    "sk-ecdsa-sha2-nistp256@openssh.com": "SHA256",
    "rsa-sha2-256": "SHA256",
    "rsa-sha2-512": "SHA512",
}
_TLS_HASHES = {
    0x0403: "SHA256",
    0x0503: "SHA384",
    0x0603: "SHA512",
    0x0804: "SHA256",
    0x0805: "SHA384",
    0x0806: "SHA512",
}

TOUCHED, VERIFIED = 0x01, 0x04
"""Flags of a security key's signature: the person touched it; proved by PIN or finger who they
are."""


@dataclass(frozen=True, slots=True)
class SkDetails:
    """What a security key signed along: its flags and its count of signatures."""

    flags: int
    counter: int

    @property
    def touched(self) -> bool:
        """The person was there."""
        return bool(self.flags & TOUCHED)

    @property
    def verified(self) -> bool:
        """The token checked who the person is."""
        return bool(self.flags & VERIFIED)

    def refusal(self, *, touch_required: bool = True, verify_required: bool = False) -> str | None:
        """Why this signature is not enough, or None (OpenSSH auth2-pubkey.c, userauth_pubkey)."""
        if touch_required and not self.touched:
            return "user presence (authenticator touch) requirement not met"
        if verify_required and not self.verified:
            return "user verification requirement not met"
        return None


def hash_of(name: str) -> HashAlgorithm:
    """The hash of an SSH signature algorithm."""
    from cryptography.hazmat.primitives import hashes

    algorithm: HashAlgorithm = getattr(hashes, _HASHES[name])()
    return algorithm


def tls_hash(scheme: int) -> HashAlgorithm:
    """The hash of a TLS scheme (not of Ed25519)."""
    from cryptography.hazmat.primitives import hashes

    algorithm: HashAlgorithm = getattr(hashes, _TLS_HASHES[scheme])()
    return algorithm


def load_public(key: PublicKey) -> PublicKeyTypes:
    """The key as ``cryptography`` wants it."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key.require_usable()
    form, parts = KEY_TYPES[key.plain_type], key.parts
    try:
        if form.curve:
            curve: dict[str, type[ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1]] = {
                "nistp256": ec.SECP256R1,
                "nistp384": ec.SECP384R1,
                "nistp521": ec.SECP521R1,
            }
            return ec.EllipticCurvePublicKey.from_encoded_point(curve[form.curve](), parts.public)
        if form.label == "RSA":
            return rsa.RSAPublicNumbers(parts.exponent, parts.modulus).public_key()
        return ed25519.Ed25519PublicKey.from_public_bytes(parts.public)
    except ValueError as error:
        raise KeyFormatError(f"not a usable {key.label} key: {error}") from None


def verify(key: PublicKey, signature: bytes, data: bytes, algorithm: str | None = None) -> bool:
    """Whether ``signature`` (an SSH signature blob) is by ``key`` over ``data``.

    With ``algorithm`` (as in a request, certificate names too) the signature must be of exactly
    that one. A security key's signature counts only when the person touched it: :func:`verify_sk`
    has the rest.
    """
    if key.is_security_key:
        details = verify_sk(key, signature, data, algorithm)
        return details is not None and details.touched
    try:
        public = load_public(key)
        reader = Reader(signature)
        name, raw = reader.text(), reader.string()
        reader.end()
    except KeyFormatError:
        return False
    return _right_name(key, name, algorithm) and _verify_raw(public, name, raw, data)


def verify_sk(
    key: PublicKey, signature: bytes, data: bytes, algorithm: str | None = None
) -> SkDetails | None:
    """The flags and the counter of a good signature by a security key (PROTOCOL.u2f), else None."""
    if not key.is_security_key:
        return None
    try:
        public = load_public(key)
        reader = Reader(signature)
        name, raw = reader.text(), reader.string()
        details = SkDetails(reader.byte(), reader.uint32())
        reader.end()
    except KeyFormatError:
        return None
    if not _right_name(key, name, algorithm):
        return None
    flags, counter = bytes((details.flags,)), details.counter.to_bytes(4, "big")
    application = hashlib.sha256(key.parts.application).digest()
    signed = application + flags + counter + hashlib.sha256(data).digest()
    return details if _verify_raw(public, name, raw, signed) else None


def _right_name(key: PublicKey, name: str, algorithm: str | None) -> bool:
    able = signature_algorithms(key.type)
    return name in able and (algorithm is None or name == signature_algorithm(algorithm))


def _verify_raw(public: PublicKeyTypes, name: str, raw: bytes, data: bytes) -> bool:
    if "ecdsa" in name:
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        try:
            reader = Reader(raw)
            r, s = reader.mpint(), reader.mpint()
            reader.end()
        except KeyFormatError:
            return False
        raw = encode_dss_signature(r, s)
    return _check(public, raw, data, name)


def _check(public: PublicKeyTypes, raw: bytes, data: bytes, algorithm: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        if isinstance(public, Ed25519PublicKey):
            public.verify(raw, data)
            return True
        digest = hash_of(algorithm)
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(raw, data, ec.ECDSA(digest))
            return True
        if not isinstance(public, rsa.RSAPublicKey):
            return False
        # OpenSSH accepts a signature that lost its leading zeros
        raw = raw.rjust((public.key_size + 7) // 8, b"\0")
        public.verify(raw, data, padding.PKCS1v15(), digest)
    except (InvalidSignature, ValueError):
        return False
    return True
