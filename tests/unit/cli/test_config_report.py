"""``qshctl config``: every option and its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.cli.config_report import report
from qsh.config.schema import KEYWORDS

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def rows(text: str) -> dict[str, tuple[str, str]]:
    found = {}
    for line in text.splitlines()[1:]:
        setting, _, source = line.partition(" # ")
        name, _, value = setting.strip().partition(" ")
        found[name] = (value, source)
    return found


def test_sources(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config"
    file.write_text("Host h\n User alice\n AddKeysToAgent yes\n QshPort 4433\n SendEnv A\n")
    assert report(["-F", str(file), "-o", "BatchMode=yes", "-p", "77", "h"]) == 0
    text = capfd.readouterr().out
    assert text.startswith("# h: alice@h\n")
    found = rows(text)
    assert found["User"] == ("alice", f"{file} line 2")
    assert found["AddKeysToAgent"] == ("yes", f"{file} line 3; no effect in qsh")
    assert found["QshPort"] == ("4433", f"{file} line 4")
    assert found["BatchMode"] == ("yes", "-o")
    assert found["Port"] == ("77", "-p")
    assert found["StrictHostKeyChecking"] == ("ask", "default")
    assert found["QshFallback"][1] == "default"
    assert set(found) <= {row.name for row in KEYWORDS.values()}


def test_what_was_set_comes_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config").write_text("VisualHostKey yes\n")
    report(["-F", str(tmp_path / "config"), "h"])
    sources = [source for _, source in rows(capfd.readouterr().out).values()]
    at = [source == "default" for source in sources]
    assert at == sorted(at)


def test_errors(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config").write_text("Port x\n")
    assert report(["-F", str(tmp_path / "config"), "h"]) == 255
    assert "line 1" in capfd.readouterr().err
    assert report([]) == 255
