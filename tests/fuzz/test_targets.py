"""Every fuzz target on its corpus and, for a bounded time, on new inputs (QSH_FUZZ_S seconds each; 60 in CI)."""

from __future__ import annotations

import os
import random

import pytest

from tests.fuzz import runner

SECONDS = float(os.environ.get("QSH_FUZZ_S", "60" if os.environ.get("CI") else "3"))


def test_there_are_targets() -> None:
    assert runner.names()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("name", runner.names())
def test_invariant_holds(name: str) -> None:
    seed = random.SystemRandom().randrange(2**32)
    assert runner.run(name, SECONDS, seed) >= len(runner.load(name).SEEDS)


def test_runner_finds_a_planted_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Planted:
        SEEDS = (b"harmless",)

        @staticmethod
        def fuzz_one(data: bytes) -> None:
            assert b"\xff" not in data

    monkeypatch.setattr(runner, "load", lambda _: Planted)
    with pytest.raises(runner.Failure, match="ff"):
        runner.run("planted", 5, seed=1)
