"""Secrets of the fronts are in no memory but a front's."""

from __future__ import annotations

import hashlib
import os

import pytest

from qsh.server import front_secrets


def test_every_front_has_the_same() -> None:
    descriptor = front_secrets.make()
    other = os.dup(descriptor)
    found = front_secrets.take(descriptor)
    assert found == front_secrets.take(other)
    assert [len(each) for each in found] == [32, 32, 32]
    assert len(set(found)) == len(found)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_outlives_qshd_is_derived() -> None:
    """Only the monitor can do that. The salt is anew with each start."""
    found = []
    for _ in range(2):
        descriptor = front_secrets.make()
        lasting = [hashlib.sha256(label).digest() for label in front_secrets.LASTING]
        front_secrets.keep(os.dup(descriptor), lasting)
        found.append(front_secrets.take(descriptor))
    first, second = found
    assert first.reset_key == second.reset_key == hashlib.sha256(b"stateless resets").digest()
    assert first.token_key == second.token_key == hashlib.sha256(b"address tokens").digest()
    assert first.salt != second.salt
