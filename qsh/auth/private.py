"""Private keys in files: load, sign for SSH and for TLS, make a host key.

Reads what ssh reads: OpenSSH's own format, PEM (PKCS#1, SEC 1) and PKCS#8, each with or without
passphrase.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from qsh.auth.algorithms import signature_algorithm, signature_algorithms, tls_schemes
from qsh.auth.keys import KEY_TYPES, PublicKey
from qsh.auth.openssh_file import OpensshFile, encode_ed25519, is_encrypted, public_of
from qsh.auth.signatures import hash_of, tls_hash
from qsh.auth.sshwire import Writer
from qsh.errors import KeyFormatError, KeyPassphraseError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    SigningKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

__all__ = ["PrivateKey", "generate_ed25519", "is_encrypted", "public_of"]


class PrivateKey:
    """A key that can sign. Its repr shows the fingerprint only."""

    __slots__ = ("_key", "public")

    public: Final[PublicKey]

    def __init__(self, key: SigningKey, public: PublicKey) -> None:
        self._key = key
        self.public = public

    def __repr__(self) -> str:
        return f"<PrivateKey {self.public.type} {self.public.fingerprint()}>"

    @classmethod
    def load(
        cls, data: bytes, passphrase: bytes | None = None, name: str = "the key"
    ) -> PrivateKey:
        """Read a private key file; ``name`` is what errors call it.

        KeyPassphraseError: it is encrypted and the passphrase is missing or wrong. KeyFormatError:
        anything else.
        """
        comment = ""
        if OpensshFile.is_one(data):
            file = OpensshFile.parse(data)
            comment = file.comment
            if file.public.is_security_key:
                raise KeyFormatError(
                    f"{name} belongs to a security key: use it through ssh-agent (ssh-add {name})"
                )
        encrypted = is_encrypted(data)
        if encrypted and not passphrase:
            raise KeyPassphraseError(f"{name} needs a passphrase")
        key = _decode(data, passphrase if encrypted else None, name)
        public = _public(key, comment)
        public.require_usable()
        return cls(key, public)

    def sign(self, data: bytes, algorithm: str | None = None) -> bytes:
        """An SSH signature blob; the default algorithm of RSA is rsa-sha2-512 (RFC 8332)."""
        algorithms = signature_algorithms(self.public.type)
        name = algorithms[0] if algorithm is None else signature_algorithm(algorithm)
        if name not in algorithms:
            raise KeyFormatError(f"a key of type {self.public.type} cannot sign {algorithm}")
        return Writer().text(name).string(self._sign_raw(data, name)).bytes()

    def _sign_raw(self, data: bytes, name: str) -> bytes:
        if self.public.type == "ssh-ed25519":
            return self._ed25519.sign(data)
        if KEY_TYPES[self.public.type].curve:
            from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
            from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

            r, s = decode_dss_signature(self._ec.sign(data, ECDSA(hash_of(name))))
            return Writer().mpint(r).mpint(s).bytes()
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        return self._rsa.sign(data, PKCS1v15(), hash_of(name))

    def sign_tls(self, scheme: int, message: bytes) -> bytes:
        """The raw signature of TLS 1.3's CertificateVerify (RFC 8446 4.2.3)."""
        if scheme not in tls_schemes(self.public.type):
            raise KeyFormatError(
                f"a key of type {self.public.type} cannot sign TLS scheme {scheme:#06x}"
            )
        if self.public.type == "ssh-ed25519":
            return self._ed25519.sign(message)
        digest = tls_hash(scheme)
        if KEY_TYPES[self.public.type].curve:
            from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

            return self._ec.sign(message, ECDSA(digest))
        from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS

        return self._rsa.sign(message, PSS(MGF1(digest), digest.digest_size), digest)

    def derive(self, label: bytes) -> bytes:
        """32 bytes that only the key's holders know, the same every time, and that tell nothing of the key (HKDF, RFC 5869)."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        key = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return HKDF(SHA256(), 32, b"qsh/1 derived\0", label).derive(key)

    # ``public.type`` has settled the type of the key: these three only tell the type checker.
    @property
    def _ed25519(self) -> Ed25519PrivateKey:
        key: Any = self._key
        ed25519: Ed25519PrivateKey = key
        return ed25519

    @property
    def _ec(self) -> EllipticCurvePrivateKey:
        key: Any = self._key
        ec: EllipticCurvePrivateKey = key
        return ec

    @property
    def _rsa(self) -> RSAPrivateKey:
        key: Any = self._key
        rsa: RSAPrivateKey = key
        return rsa


def _decode(data: bytes, passphrase: bytes | None, name: str) -> SigningKey:
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    openssh = OpensshFile.is_one(data)
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        # The primes of one's own file are not tested: ssh does not either, and it would take
        # longer than logging in.
        key = load(data, passphrase, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm as error:
        raise KeyFormatError(f"{name} cannot be read: {error}") from None
    except (ValueError, TypeError, InvalidTag) as error:
        if passphrase is not None:
            raise KeyPassphraseError(f"wrong passphrase for {name}") from None
        raise KeyFormatError(f"{name} is not a private key that qsh can read: {error}") from None
    if isinstance(key, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        return key
    raise KeyFormatError(
        f"{name} holds a key of a type that is not used any more (DSA) or not known"
    )


def _public(key: SigningKey, comment: str) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    found = PublicKey.from_spki(der)
    return PublicKey(found.type, found.blob, comment)


def generate_ed25519(comment: str = "") -> tuple[str, PublicKey]:
    """A new host key: the text of its private file (OpenSSH format, no passphrase) and its public
    key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = _public(key, comment)
    check = int.from_bytes(os.urandom(4), "big")
    text = encode_ed25519(public.parts.public, key.private_bytes_raw(), comment, check)
    return text, public
