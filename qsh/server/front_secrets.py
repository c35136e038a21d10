"""Secrets that all fronts of a daemon use, one front after the other, and that no other process is to have.

What is in the spawner's memory is in that of every session host, which is its user's. So they are in a file without a name: the
front reads it, and the spawner's other children close it. The monitor fills in what must be the same after a restart of qshd: the
signer derives that from a host key, so that nothing is stored, and the front, which has no host key, could not make it itself.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.server.requests import Address

__all__ = ["LASTING", "FrontSecrets", "keep", "labels", "make", "reset_key_at", "take"]

EACH: Final = 32
SOURCE: Final = "/dev/urandom"


class FrontSecrets(NamedTuple):
    """For stateless resets, for address tokens, and what unknown users' answers are made of."""

    reset_key: bytes
    token_key: bytes
    salt: bytes


SIZE: Final = EACH * len(FrontSecrets._fields)
LASTING: Final = (b"stateless resets", b"address tokens")
"""What the first ones are derived for. A successor that has them tells the clients of its predecessor at once that it is gone
(RFC 9000 10.3; connection ids hang on the reset key, native/src/quic/config.rs)."""
MACHINE_ID: Final = "/etc/machine-id"


def make() -> int:
    """The descriptor of new ones. Raises OSError."""
    descriptor = os.memfd_create("qshd-secrets", os.MFD_CLOEXEC)
    buffer = bytearray(SIZE)  # not os.urandom(): what is freed stays readable
    with open(SOURCE, "rb", buffering=0) as source:
        source.readinto(buffer)
    os.write(descriptor, buffer)
    buffer[:] = bytes(SIZE)
    return descriptor


def labels(machine_id: str = MACHINE_ID) -> list[bytes]:
    """LASTING for this installation. Images that are copied have the same host key, and listen at the same wildcard address: so
    a copy would answer packets of another's connections with the reset that ends them. Nothing better than the machine's id
    and name lasts as long as is needed; where the file is not there, or the same as elsewhere, the name alone is left.
    """
    try:
        with open(machine_id, "rb") as file:
            said = file.read(EACH)
    except OSError:
        said = b""
    where = hashlib.sha256(said + b"\0" + os.uname().nodename.encode()).digest()
    return [label + b" at " + where for label in LASTING]


def keep(descriptor: int, lasting: Sequence[bytes]) -> None:
    """In the monitor, before there is a front: put in those that outlive qshd, as the signer derives them, and close."""
    os.pwrite(descriptor, b"".join(lasting), 0)
    os.close(descriptor)


def reset_key_at(reset_key: bytes, listener: Address) -> bytes:
    """For the resets and connection ids of one listener. With the same for all, each would answer packets of another's
    connections with the reset that ends them, and whoever sees a connection's id could have that (RFC 9000 21.11).
    """
    host, port = listener
    return hmac.digest(reset_key, f"{host} {port}".encode(), "sha256")


def take(descriptor: int) -> FrontSecrets:
    """In the front: read and close."""
    data = os.pread(descriptor, SIZE, 0)
    os.close(descriptor)
    return FrontSecrets(data[:EACH], data[EACH : 2 * EACH], data[2 * EACH :])
