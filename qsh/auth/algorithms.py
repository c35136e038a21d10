"""Names and numbers of signature algorithms: SSH's and TLS's for each type of key (RFC 8332, 8709; RFC 8446 4.2.3).

Apart from signatures.py, so that a client that only signs loads nothing that verifies.
"""

from __future__ import annotations

from qsh.auth.keys import CERT_SUFFIX, plain_type

__all__ = ["signature_algorithm", "signature_algorithms", "tls_schemes"]

_RSA_ALGORITHMS = ("rsa-sha2-512", "rsa-sha2-256")

_TLS_SCHEMES: dict[str, tuple[int, ...]] = {
    "ssh-ed25519": (0x0807,),
    "ecdsa-sha2-nistp256": (0x0403,),
    "ecdsa-sha2-nistp384": (0x0503,),
    "ecdsa-sha2-nistp521": (0x0603,),
    "ssh-rsa": (0x0806, 0x0805, 0x0804),
}


def signature_algorithms(key_type: str) -> tuple[str, ...]:
    """Names that a signature by this type of key may carry, the best first; certificates sign as
    their key."""
    plain = plain_type(key_type)
    return _RSA_ALGORITHMS if plain == "ssh-rsa" else (plain,)


def signature_algorithm(algorithm: str) -> str:
    """The name in the signature for the name in a request: a certificate's algorithm loses the
    suffix."""
    plain = algorithm.removesuffix(CERT_SUFFIX)
    if plain != algorithm and plain.startswith("sk-"):
        plain += "@openssh.com"
    return plain


def tls_schemes(key_type: str) -> tuple[int, ...]:
    """SignatureSchemes of TLS 1.3 that this type of key can sign, the best first; none for security
    keys."""
    return _TLS_SCHEMES.get(key_type, ())
