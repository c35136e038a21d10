"""Keys for the client's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.private import generate_ed25519
from qsh.client.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qsh.auth.keys import PublicKey


@pytest.fixture(scope="session")
def keys() -> list[tuple[str, PublicKey]]:
    """Five keys: private file text and public key."""
    return [generate_ed25519(f"key {number}") for number in range(5)]


@pytest.fixture
def key_file(tmp_path: Path, keys: list[tuple[str, PublicKey]]) -> Callable[[int], Path]:
    """Write key number n as ~/.ssh/id_n would be."""

    def write(number: int) -> Path:
        path = tmp_path / f"id_{number}"
        path.touch(mode=0o600)
        path.write_text(keys[number][0])
        return path

    return write


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was told to the user, at level DEBUG3."""
    lines: list[str] = []
    level = log.level
    log.set_level("DEBUG3")
    monkeypatch.setattr(log, "write", lines.append)
    yield lines
    log.level = level
