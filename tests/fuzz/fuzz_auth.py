"""Invariant: whatever the bytes, a parser of qsh/auth returns or raises KeyFormatError, and nothing
else; what a parser of keys accepts, it gives back byte for byte; no random bytes are a good
signature.

``fuzz_one(data)`` checks that for one input. Run alone, it makes inputs by changing good ones:
``python -m tests.fuzz.fuzz_auth [SECONDS]``.
"""

from __future__ import annotations

import random
import sys
import time

from qsh.auth.certificates import Certificate
from qsh.auth.keys import PublicKey
from qsh.auth.signatures import verify, verify_sk
from qsh.auth.sshwire import Reader, Writer
from qsh.errors import KeyFormatError

ED25519 = Writer().text("ssh-ed25519").string(bytes(range(32))).bytes()
SK = Writer().text("sk-ssh-ed25519@openssh.com").string(bytes(range(32))).text("ssh:").bytes()
RSA = Writer().text("ssh-rsa").mpint(65537).mpint((1 << 2047) | 1).bytes()
POINT = (  # the base point of P-256 (SEC 2)
    "04"
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
ECDSA = Writer().text("ecdsa-sha2-nistp256").text("nistp256").string(bytes.fromhex(POINT)).bytes()
CERTIFICATE = (
    Writer().text("ssh-ed25519-cert-v01@openssh.com").string(b"nonce").string(bytes(range(32)))
    .uint64(1).uint32(1).text("id").string(Writer().text("u").bytes()).uint64(0).uint64(2**64 - 1)
    .string(b"").string(b"").string(b"").string(ED25519)
    .string(Writer().text("ssh-ed25519").string(b"\1" * 64).bytes()).bytes()
)  # fmt: skip
SIGNATURE = Writer().text("ssh-ed25519").string(b"\1" * 64).raw(b"\1\0\0\0\1").bytes()
SEEDS = (ED25519, SK, RSA, ECDSA, CERTIFICATE, SIGNATURE)
KEYS = tuple(PublicKey.from_blob(blob) for blob in (ED25519, RSA, ECDSA))


def fuzz_sshwire(data: bytes) -> None:
    reader = Reader(data)
    steps = (reader.mpint, reader.text, reader.string, reader.uint64, reader.boolean)
    try:
        for at in range(len(data)):
            steps[data[at] % len(steps)]()
        reader.end()
    except KeyFormatError:
        assert reader.remaining >= 0


def fuzz_keys(data: bytes) -> None:
    for parse in (
        PublicKey.from_blob,
        PublicKey.from_spki,
        lambda d: PublicKey.from_line(d.decode("latin-1")),
    ):
        try:
            key = parse(data)
        except KeyFormatError:
            continue
        assert PublicKey.from_blob(key.blob) == key
        assert PublicKey.from_line(key.line()) == key
        assert key.plain.plain == key.plain
        assert key.fingerprint().startswith("SHA256:")
        if not key.is_certificate and not key.is_security_key:
            assert PublicKey.from_spki(key.spki()) == key


def fuzz_certificates(data: bytes) -> None:
    try:
        certificate = Certificate.from_blob(data)
    except KeyFormatError:
        return
    assert certificate.key.blob == data


def fuzz_signatures(data: bytes) -> None:
    for key in KEYS:
        assert not verify(key, data, b"message")
    assert verify_sk(PublicKey.from_blob(SK), data, b"message") is None
    try:
        key = PublicKey.from_blob(data)
        assert not verify(key, SIGNATURE, b"message")
    except KeyFormatError:
        return


def fuzz_one(data: bytes) -> None:
    """Everything on one input."""
    fuzz_sshwire(data)
    fuzz_keys(data)
    fuzz_certificates(data)
    fuzz_signatures(data)


def mutate(source: random.Random) -> bytes:
    """A good blob with a few changes."""
    data = bytearray(source.choice(SEEDS))
    for _ in range(source.randrange(4)):
        at = source.randrange(len(data) + 1)
        change = source.randrange(4)
        if change == 0:
            del data[at : at + source.randrange(8)]
        elif change == 1:
            data[at:at] = source.randbytes(source.randrange(8))
        elif at < len(data):
            data[at] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
    return bytes(data)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source, end, count = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutate(source)
        try:
            fuzz_one(data)
        except BaseException:
            print(f"input {data.hex()}")
            raise
        count += 1
    print(f"{count} inputs")


if __name__ == "__main__":
    main()
