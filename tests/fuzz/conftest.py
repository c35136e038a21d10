"""Targets run while other tests mostly wait for something, with the processor time that those leave."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.fuzz import side_by_side

if TYPE_CHECKING:
    from concurrent.futures import Future

SECONDS = float(os.environ.get("QSH_FUZZ_S", "60" if os.environ.get("CI") else "3"))
_RUNNING = pytest.StashKey["dict[str, Future[side_by_side.Result]]"]()


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    functions = [item for item in session.items if isinstance(item, pytest.Function)]
    chosen = [item for item in functions if item.originalname == "test_invariant_holds"]
    names = [str(item.callspec.params["name"]) for item in chosen]
    session.stash[_RUNNING] = side_by_side.begin(names, SECONDS, idle=len(functions) > len(chosen))


def pytest_sessionfinish(session: pytest.Session) -> None:
    for each in session.stash.get(_RUNNING, {}).values():
        each.cancel()


@pytest.fixture
def fuzzing(request: pytest.FixtureRequest) -> dict[str, Future[side_by_side.Result]]:
    """Of each target that was chosen."""
    return request.session.stash[_RUNNING]
