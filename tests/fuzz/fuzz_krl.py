"""Invariant: whatever a RevokedKeys file holds, it is read, in time and memory that go with its size, or KeyFormatError is
raised; and what was read answers for every key.
"""

from __future__ import annotations

from qsh.auth.certificates import Certificate
from qsh.auth.keys import PublicKey
from qsh.auth.krl import MAGIC, RevokedKeys
from qsh.auth.sshwire import Writer
from qsh.errors import KeyFormatError
from tests.fuzz.fuzz_auth import ED25519, RSA

KEY = PublicKey.from_blob(ED25519)
AUTHORITY = PublicKey.from_blob(RSA)
CERTIFICATES = tuple(
    Certificate(KEY, 1, serial, "id", ("u",), 0, 2**64 - 1, (), (), AUTHORITY, "rsa-sha2-512")
    for serial in (0, 1, 70, 2**63, 2**64 - 1)
)


def _krl(*sections: tuple[int, bytes]) -> bytes:
    made = Writer().raw(MAGIC).uint32(1).uint64(1).uint64(2).uint64(0).string(b"").text("why")
    for kind, data in sections:
        made.byte(kind).string(data)
    return made.bytes()


def _certificates(authority: bytes, *sections: tuple[int, bytes]) -> tuple[int, bytes]:
    made = Writer().string(authority).string(b"")
    for kind, data in sections:
        made.byte(kind).string(data)
    return 1, made.bytes()


_SERIALS = (
    (0x20, Writer().uint64(1).uint64(70).bytes()),
    (0x21, Writer().uint64(1).uint64(2**64 - 1).bytes()),
    (0x22, Writer().uint64(64).mpint(1 << 40 | 64).bytes()),
    (0x23, Writer().text("id").text("other").bytes()),
)
_EXTENSION = (255, Writer().text("x@example.org").boolean(False).string(b"").bytes())
SEEDS = (
    _krl(),
    _krl(_certificates(RSA, *_SERIALS), _certificates(b"", *_SERIALS)),
    _krl(
        (2, Writer().string(ED25519).bytes()), (3, Writer().string(bytes(20)).bytes()), _EXTENSION
    ),
    _krl((5, Writer().string(bytes(32)).string(bytes(32)).bytes())),
    b"# gone\n" + KEY.line().encode() + b"\n\n",
    AUTHORITY.line().encode(),
)


def fuzz_one(data: bytes) -> None:
    """Read it, ask it."""
    try:
        found = RevokedKeys.parse(data)
    except KeyFormatError:
        return
    for certificate in CERTIFICATES:
        answer = found.has(KEY, certificate)
        assert answer or not found.has(KEY)
        assert answer or not found.has(AUTHORITY)
