"""docs/security.md names, for each incident, tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text().partition("\n## 2. ")[2]
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| incident", "| ---"))
]


def _functions(path: Path) -> set[str]:
    """Its tests, and what a fuzzer calls."""
    kind = r"^ *fn (\w+)\(" if path.suffix == ".rs" else r"^(?:async )?def (test_\w+|fuzz_one)\("
    return set(re.findall(kind, path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:40])
def test_a_row_names_its_tests(row: str) -> None:
    _, incident, does, tests, _ = (cell.strip() for cell in row.split("|"))
    assert incident
    assert does
    for name in tests.split(", "):
        file, _, test = name.partition("::")
        folder = ROOT if file.startswith("native/") else ROOT / "tests"
        assert test in _functions(folder / file), name


def test_there_are_rows() -> None:
    assert len(ROWS) > 30
