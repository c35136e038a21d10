"""Secrets that all fronts of a daemon use, one front after the other, and that no other process is to have.

What is in the spawner's memory is in that of every session host, which is its user's. So they are in a file without a name: the
front reads it, and the spawner's other children close it.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

__all__ = ["FrontSecrets", "make", "take"]

EACH: Final = 32
SOURCE: Final = "/dev/urandom"


class FrontSecrets(NamedTuple):
    """For stateless resets, for address tokens, and what unknown users' answers are made of."""

    reset_key: bytes
    token_key: bytes
    salt: bytes


SIZE: Final = EACH * len(FrontSecrets._fields)


def make() -> int:
    """The descriptor of new ones. Raises OSError."""
    descriptor = os.memfd_create("qshd-secrets", os.MFD_CLOEXEC)
    buffer = bytearray(SIZE)  # not os.urandom(): what is freed stays readable
    with open(SOURCE, "rb", buffering=0) as source:
        source.readinto(buffer)
    os.write(descriptor, buffer)
    buffer[:] = bytes(SIZE)
    return descriptor


def take(descriptor: int) -> FrontSecrets:
    """In the front: read and close."""
    data = os.pread(descriptor, SIZE, 0)
    os.close(descriptor)
    return FrontSecrets(data[:EACH], data[EACH : 2 * EACH], data[2 * EACH :])
