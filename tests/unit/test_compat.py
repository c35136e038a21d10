"""docs/compat.md names tests that exist, and all that are in tests/interop."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compat.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and line != "| what | test |"]
NAMED = re.findall(r"([\w/]+\.py)::(\w+)", PAGE)

ELSEWHERE = ("test_dash_g.py", "test_permission_matrix.py")
"""Compared value by value, not row by row; what the server lets in, whoever calls."""


def _tests(path: Path) -> set[str]:
    return set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_its_tests(row: str) -> None:
    last = row.removesuffix(" |").rpartition(" | ")[2]
    if last == "missing":
        return
    for name in last.split(", "):
        file, _, test = name.partition("::")
        assert test in _tests(ROOT / "tests" / file), name


def test_no_program_is_left_out() -> None:
    for path in (ROOT / "tests" / "interop").glob("test_*.py"):
        if path.name in ELSEWHERE:
            continue
        assert {test for file, test in NAMED if file == f"interop/{path.name}"} == _tests(path)
