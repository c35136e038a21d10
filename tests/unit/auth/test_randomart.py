from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.randomart import randomart
from tests.unit.auth.ssh_tools import KINDS, certify, keygen, public

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_picture_is_that_of_ssh_keygen(
    key_files: dict[str, Path], kind: str, algorithm: str
) -> None:
    printed = keygen("-E", algorithm, "-lvf", key_files[kind])
    assert printed.split("\n", 1)[1].rstrip("\n") == randomart(public(key_files[kind]), algorithm)


def test_long_title_drops_the_bits(key_files: dict[str, Path]) -> None:
    certificate = certify(key_files["ca"], key_files["ed25519"], "-I", "id", "-n", "u")
    printed = keygen("-lvf", key_files["ed25519"].with_name("ed25519-cert.pub"))
    assert printed.split("\n", 1)[1].rstrip("\n") == randomart(certificate)
