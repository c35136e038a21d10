"""What a TLS 1.3 peer makes of a signature: in qsh only the engine verifies one, so this is a second opinion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from qsh.auth.signatures import load_public
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from qsh.auth.keys import PublicKey

__all__ = ["verify_tls"]

ED25519 = 0x0807
ECDSA = {
    0x0403: ("secp256r1", SHA256),
    0x0503: ("secp384r1", SHA384),
    0x0603: ("secp521r1", SHA512),
}
RSA_PSS = {0x0804: SHA256, 0x0805: SHA384, 0x0806: SHA512}
"""RFC 8446 4.2.3."""


def verify_tls(key: PublicKey, scheme: int, signature: bytes, message: bytes) -> bool:
    """Whether it is by ``key``, with this SignatureScheme."""
    try:
        public = load_public(key)
    except KeyFormatError:
        return False
    try:
        if isinstance(public, ed25519.Ed25519PublicKey) and scheme == ED25519:
            public.verify(signature, message)
            return True
        if isinstance(public, ec.EllipticCurvePublicKey) and scheme in ECDSA:
            curve, digest = ECDSA[scheme]
            public.verify(signature, message, ec.ECDSA(digest()))
            return public.curve.name == curve
        if isinstance(public, rsa.RSAPublicKey) and scheme in RSA_PSS:
            made = RSA_PSS[scheme]()
            public.verify(signature, message, PSS(MGF1(made), made.digest_size), made)
            return True
    except InvalidSignature:
        pass
    return False
