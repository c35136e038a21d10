"""SubjectPublicKeyInfo (RFC 5280 4.1.2.7, RFC 8410, RFC 5480, RFC 8017): a raw public key in TLS.

Written by hand because a client compares the server's key with known_hosts on every start, and
importing ``cryptography`` for that costs more than the comparison. Reading is strict: what does not
encode back to the same bytes is refused, so a key has one SPKI and an SPKI one key.
"""

from __future__ import annotations

from qsh.errors import KeyFormatError

__all__ = [
    "CURVES",
    "decode_ec",
    "decode_ed25519",
    "decode_rsa",
    "encode_ec",
    "encode_ed25519",
    "encode_rsa",
]

CURVES = {"nistp256": 32, "nistp384": 48, "nistp521": 66}
"""Curve names of RFC 5656 and the bytes of one coordinate."""

_ED25519 = bytes.fromhex("302a300506032b6570032100")
_EC = {
    "nistp256": bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
    "nistp384": bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200"),
    "nistp521": bytes.fromhex("30819b301006072a8648ce3d020106052b8104002303818600"),
}
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _integer(value: int) -> bytes:
    return _tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the first element, which must carry ``tag``, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise KeyFormatError("not a public key in DER")
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        raise KeyFormatError("a public key in DER is truncated")
    return data[start : start + size], data[start + size :]


def encode_ed25519(public: bytes) -> bytes:
    """DER of an Ed25519 key (RFC 8410 section 4)."""
    return _ED25519 + public


def decode_ed25519(der: bytes) -> bytes | None:
    """The key, or None when ``der`` is of another kind."""
    return (
        der[len(_ED25519) :]
        if der.startswith(_ED25519) and len(der) == len(_ED25519) + 32
        else None
    )


def encode_ec(curve: str, point: bytes) -> bytes:
    """DER of an ECDSA key on a named curve (RFC 5480 section 2)."""
    return _EC[curve] + point


def decode_ec(der: bytes) -> tuple[str, bytes] | None:
    """Curve and point, or None when ``der`` is of another kind."""
    for curve, prefix in _EC.items():
        if der.startswith(prefix) and len(der) == len(prefix) + 1 + 2 * CURVES[curve]:
            return curve, der[len(prefix) :]
    return None


def encode_rsa(exponent: int, modulus: int) -> bytes:
    """DER of an RSA key (RFC 8017 A.1)."""
    key = _tlv(0x30, _integer(modulus) + _integer(exponent))
    return _tlv(0x30, _RSA + _tlv(3, b"\0" + key))


def decode_rsa(der: bytes) -> tuple[int, int] | None:
    """Exponent and modulus, or None when ``der`` is of another kind."""
    body, _ = _take(der, 0x30)
    if not body.startswith(_RSA):
        return None
    bits, _ = _take(body[len(_RSA) :], 3)
    key, _ = _take(bits[1:], 0x30)
    modulus, rest = _take(key, 2)
    exponent, _ = _take(rest, 2)
    e, n = int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")
    if encode_rsa(e, n) != der:
        raise KeyFormatError("an RSA key in unusual DER")
    return e, n
