from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.unit.auth.ssh_tools import KINDS, make_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A key of every kind, a second Ed25519 key and a certificate authority, made by ssh-keygen."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen")
    folder = tmp_path_factory.mktemp("keys")
    files = {kind: make_key(folder / kind, kind) for kind in KINDS}
    return files | {name: make_key(folder / name) for name in ("other", "ca")}
