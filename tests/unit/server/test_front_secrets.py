"""Secrets of the fronts are in no memory but a front's."""

from __future__ import annotations

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
