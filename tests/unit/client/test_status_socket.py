"""The socket for `qshctl status` is made in no directory that somebody else leads it to."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from qsh.client.status_socket import StatusSocket

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["link", "open"])
def test_nothing_is_removed_from_somebody_else_s_directory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    target = tmp_path / "elsewhere"
    target.mkdir(0o700)
    if kind == "link":
        (tmp_path / "qsh").symlink_to(target)
    else:
        target = tmp_path / "qsh"
        target.mkdir()
        target.chmod(0o777)
    file = target / str(os.getpid())
    file.write_text("kept")

    async def main() -> None:
        StatusSocket({}, dict).close()

    asyncio.run(main())
    assert file.read_text() == "kept"
