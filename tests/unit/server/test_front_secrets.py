"""Secrets of the fronts are in no memory but a front's."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from qsh.server import front_secrets

if TYPE_CHECKING:
    from pathlib import Path


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


def test_copies_of_one_image_have_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host key, and with it what is derived from, may be the same; the wildcard address is."""

    def named(name: str) -> os.uname_result:
        return os.uname_result(("Linux", name, "", "", ""))

    found = []
    for machine, name in (("one", "a"), ("two", "a"), ("two", "b"), (None, "a"), (None, "b")):
        path = tmp_path / "machine-id"
        path.unlink(missing_ok=True)
        if machine is not None:
            path.write_text(machine)
        monkeypatch.setattr(os, "uname", lambda name=name: named(name))
        labels = front_secrets.labels(str(path))
        assert labels == front_secrets.labels(str(path)), "a restart has the same"
        found += labels
    assert len(set(found)) == len(found) == 10
