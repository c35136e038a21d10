"""What reading the configuration again makes of a default file that goes and comes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qsh.cli import daemon_setup
from qsh.cli.daemon_arguments import Arguments
from qsh.cli.daemon_reload import Reloader

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def reloader(path: Path, monkeypatch: pytest.MonkeyPatch) -> Reloader:
    """Of a qshd without -f, on sockets that a unit gave it."""
    for module in ("daemon_arguments", "daemon_setup", "daemon_reload"):
        monkeypatch.setattr(f"qsh.cli.{module}.default_config", lambda: str(path))
    monkeypatch.setattr(daemon_setup, "try_host_keys", lambda _: b"")
    arguments = Arguments()
    config = daemon_setup.read_config(arguments)
    return Reloader(arguments, config, {("UDP", "", 22): None}, fixed=True)  # type: ignore[dict-item]


def test_a_default_file_that_is_gone_keeps_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "qshd_config"
    path.write_text("DenyUsers ann\n")
    again = reloader(path, monkeypatch)
    path.unlink()
    reread = again.reload()
    assert (reread.config, reread.errors) == (None, (f"{path}: No such file or directory",))
    assert again.config.options.deny_users


def test_one_that_was_never_there_may_stay_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "qshd_config"
    again = reloader(path, monkeypatch)
    monkeypatch.setattr("qsh.cli.daemon_reload.rules_of", lambda *_: None)
    assert again.reload().config is not None
    path.write_text("DenyUsers ann\n")
    assert again.reload().config is not None
    path.unlink()
    assert again.reload().config is None


def test_names_of_files_mean_what_they_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "qshd_config"
    path.write_text("HostKey key\nRevokedKeys gone\n")
    monkeypatch.chdir(tmp_path)
    again = reloader(path, monkeypatch)
    monkeypatch.setattr("qsh.cli.daemon_reload.rules_of", lambda *_: None)
    monkeypatch.chdir("/")
    reread = again.reload()
    assert reread.config is not None
    assert reread.config.options.revoked_keys == f"{tmp_path}/gone"
    assert [text for text in reread.errors if "HostKey" in text] == []
    assert os.getcwd() == "/"
