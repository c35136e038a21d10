"""Tables of the benchmarks, from the results that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import NAMES
from bench.report import TABLES, markdown

RESULTS = Path(__file__).parents[3] / "bench" / "results"
KEPT = sorted(path.stem for path in RESULTS.glob("*.json") if path.stem in TABLES)


def test_every_benchmark_has_a_table() -> None:
    assert set(TABLES) == set(NAMES)


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_result_makes_a_table(name: str) -> None:
    rows = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    lines = markdown({name: rows}).splitlines()
    widths = {line.count("|") for line in lines if line}
    assert lines[1].startswith("| --- | ---:")
    assert len(lines) > 2
    assert len(widths) == 1 or name in {"forward", "udp"}  # several tables


def test_most_results_are_kept() -> None:
    assert len(KEPT) > len(TABLES) / 2
