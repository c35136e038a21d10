"""Every fuzz target on its corpus and, for a bounded time, on new inputs (QSH_FUZZ_S seconds each; 60 in CI).

As many at a time as there are processors, beside the tests before these (conftest.py): each test here waits for its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz import runner, side_by_side
from tests.fuzz.conftest import SECONDS

if TYPE_CHECKING:
    from concurrent.futures import Future


def test_there_are_targets() -> None:
    assert runner.names()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + side_by_side.LATE_S + 60)
@pytest.mark.parametrize("name", runner.names())
def test_invariant_holds(fuzzing: dict[str, Future[side_by_side.Result]], name: str) -> None:
    result = fuzzing[name].result()
    assert not result.failure, result.failure
    assert result.inputs >= len(runner.load(name).SEEDS)


class Planted:
    SEEDS = (b"harmless",)

    @staticmethod
    def fuzz_one(data: bytes) -> None:
        assert b"\xff" not in data


def test_runner_finds_a_planted_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "load", lambda _: Planted)
    with pytest.raises(runner.Failure, match="ff"):
        runner.run("planted", 5, seed=1)


def test_what_ends_a_process_is_named() -> None:
    found = side_by_side.begin(["no_such_target"], 1)["no_such_target"].result().failure
    assert found.startswith("no_such_target: seed ")
    assert "exit status 1" in found
