"""In CI nothing is skipped: what a test lacks fails it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBE = """\
import pytest

@pytest.mark.tool("no-such-tool")
def test_lacks_a_tool():
    pass

def test_skips():
    pytest.skip("for no reason")

def test_passes():
    pass
"""

WHOLE_FILE = """\
import pytest

pytest.importorskip("no_such_module")

def test_never_read():
    pass
"""


def outcome(folder: Path, probe: str = PROBE, **env: str) -> str:
    (folder / "test_probe.py").write_text(probe)
    (folder / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    clean = {name: value for name, value in os.environ.items() if name != "CI"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        ROOT / "pyproject.toml",
    ]
    done = subprocess.run(
        [*command, "--rootdir", folder, folder], env=clean | env, capture_output=True, text=True, check=False
    )  # fmt: skip
    return done.stdout


def test_elsewhere_the_test_is_left_out_and_told(tmp_path: Path) -> None:
    text = outcome(tmp_path)
    assert "LEFT OUT: 1 tests need no-such-tool" in text
    assert "1 passed, 1 skipped, 1 deselected" in text


@pytest.mark.parametrize("value", ["true", "1"])
def test_in_ci_both_fail(tmp_path: Path, value: str) -> None:
    text = outcome(tmp_path, CI=value)
    assert "this test needs no-such-tool" in text
    assert "1 passed" in text
    assert "skipped in CI" in text
    assert "skipped," not in text.splitlines()[-1]


def test_in_ci_a_file_that_is_skipped_fails(tmp_path: Path) -> None:
    text = outcome(tmp_path, WHOLE_FILE, CI="true")
    assert "skipped in CI" in text
    assert "1 error" in text.splitlines()[-1]
    assert "1 skipped" in outcome(tmp_path, WHOLE_FILE)
