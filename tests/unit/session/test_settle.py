"""When typed input counts as settled."""

from __future__ import annotations

import pytest

from qsh.session.settle import Settle


def test_a_kernel_that_echoes_has_done_so_once_the_output_is_drained() -> None:
    settle = Settle()
    settle.wrote(0.0, 3, kernel_echo=True)
    assert settle.settled == 0
    settle.drained()
    assert settle.settled == 3
    assert not settle.pending


def test_a_program_has_read_answered_and_paused() -> None:
    settle = Settle()
    settle.wrote(0.0, 1, kernel_echo=False)
    settle.drained()
    settle.output(0.010)
    assert not settle.check(0.012, 0)
    settle.output(0.012)
    assert settle.deadline(0.012) == pytest.approx(0.015)
    assert settle.check(0.015, 0)
    assert settle.settled == 1


@pytest.mark.parametrize(("unread", "limit"), [(0, 0.050), (4, 0.150)])
def test_a_silent_program_has_its_time(unread: int, limit: float) -> None:
    settle = Settle()
    settle.wrote(1.0, 1, kernel_echo=False)
    assert not settle.check(1.0 + limit - 0.001, unread)
    assert settle.check(1.0 + limit, unread)


def test_a_program_that_has_not_read_has_not_answered() -> None:
    settle = Settle()
    settle.wrote(0.0, 1, kernel_echo=False)
    settle.output(0.001)
    assert not settle.check(0.020, 1)
    assert settle.check(0.020, 0)


def test_what_was_typed_after_the_output_is_not_settled_by_it() -> None:
    settle = Settle()
    settle.wrote(0.0, 1, kernel_echo=False)
    settle.output(0.010)
    settle.wrote(0.012, 2, kernel_echo=False)
    assert settle.check(0.014, 0)
    assert settle.settled == 1
    assert settle.check(0.062, 0)
    assert settle.settled == 2


def test_the_deadline_always_comes() -> None:
    """Whatever a program does, following the deadlines settles everything within 150 ms."""
    settle = Settle()
    settle.wrote(0.0, 1, kernel_echo=False)
    now, steps = 0.0, 0
    while settle.pending:
        deadline = settle.deadline(now)
        assert deadline is not None
        assert deadline > now
        now, steps = deadline, steps + 1
        settle.check(now, 5)
    assert now == pytest.approx(0.150)
    assert steps < 40
