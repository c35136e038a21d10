"""Every fuzz target on its corpus and, for a bounded time, on new inputs (QSH_FUZZ_S seconds each; 60 in CI).

As many at a time as there are processors: each test waits for its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fuzz import runner, side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

SECONDS = float(os.environ.get("QSH_FUZZ_S", "60" if os.environ.get("CI") else "3"))


def test_there_are_targets() -> None:
    assert runner.names()


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[side_by_side.Result]]]:
    chosen = [item for item in request.session.items if isinstance(item, pytest.Function)]
    calls = [item.callspec for item in chosen if item.originalname == "test_invariant_holds"]
    started = side_by_side.begin([str(call.params["name"]) for call in calls], SECONDS)
    yield started
    for each in started.values():
        each.cancel()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + side_by_side.LATE_S + 60)
@pytest.mark.parametrize("name", runner.names())
def test_invariant_holds(running: dict[str, Future[side_by_side.Result]], name: str) -> None:
    result = running[name].result()
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
