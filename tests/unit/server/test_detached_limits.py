"""Which detached terminals end, and when that is looked at again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qsh.server.detached_limits import BUSY_CHECK_S, CHECK_S, DetachedLimits

WEEK_S, HALF_DAY_S = 7 * 86400.0, 12 * 3600.0


def terminal(
    since: float | None, *, attached: int = 0, idle: bool = True, running: bool = True
) -> Any:
    return SimpleNamespace(detached_at=since, attached=attached, idle=idle, running=running)


def test_nobody_waits_for_attached_terminals() -> None:
    limits = DetachedLimits(WEEK_S, HALF_DAY_S)
    assert limits.over(WEEK_S * 2, [terminal(None), terminal(0.0, attached=1)]) == []
    assert limits.at is None


def test_one_with_nothing_but_its_shell_ends_sooner() -> None:
    limits = DetachedLimits(WEEK_S, HALF_DAY_S)
    shell, busy, ended = terminal(0.0), terminal(0.0, idle=False), terminal(0.0, running=False)
    assert limits.over(HALF_DAY_S - 1, [shell, busy, ended]) == []
    assert limits.over(HALF_DAY_S, [shell, busy, ended]) == [(shell, "DetachedIdleMax")]
    assert limits.over(WEEK_S, [busy, ended]) == [(busy, "DetachedMax"), (ended, "DetachedMax")]


def test_without_an_idle_limit_only_the_other_counts() -> None:
    limits = DetachedLimits(WEEK_S, 0.0)
    shell = terminal(0.0)
    assert limits.over(WEEK_S - 1, [shell]) == []
    assert limits.over(WEEK_S, [shell]) == [(shell, "DetachedMax")]


@pytest.mark.parametrize(
    ("now", "again_s"),
    [
        (100.0, CHECK_S),
        (HALF_DAY_S - 20, 20.0),
        (HALF_DAY_S + 20, BUSY_CHECK_S),
        (WEEK_S - 0.5, 0.5),
    ],
)
def test_when_to_look_again(now: float, again_s: float) -> None:
    limits = DetachedLimits(WEEK_S, HALF_DAY_S)
    limits.over(now, [terminal(0.0, idle=False)])
    assert limits.at == pytest.approx(now + again_s)


def test_the_soonest_of_several_counts() -> None:
    limits = DetachedLimits(WEEK_S, HALF_DAY_S)
    now = HALF_DAY_S - 30
    limits.over(now, [terminal(now), terminal(0.0), terminal(now - 5)])
    assert limits.at == pytest.approx(HALF_DAY_S)
