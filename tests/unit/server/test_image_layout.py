"""The layout of what session hosts are forked from."""

from __future__ import annotations

from types import FunctionType

from qsh.server.image_layout import POOL_BYTES, fill_gaps, move_together


def ran(number: int) -> list[int]:
    return sorted((number + other for other in range(3)), key=lambda found: found)


def did_not_run() -> None:
    raise AssertionError


def test_what_ran_gets_a_copy_of_its_code() -> None:
    calls: list[list[int]] = []
    before, untouched = ran.__code__, did_not_run.__code__
    assert move_together(lambda: calls.append(ran(1))) >= 1
    assert isinstance(ran, FunctionType)
    assert ran.__code__ is not before
    assert ran.__code__.co_code == before.co_code
    assert ran(4) == [4, 5, 6]
    assert did_not_run.__code__ is untouched


def test_new_objects_lie_together_once_gaps_are_filled() -> None:
    scattered = [bytes(100) for _ in range(20_000)]
    del scattered[::7]
    filling = fill_gaps()
    fresh = [bytes(100) for _ in range(100)]
    assert len({id(one) // POOL_BYTES for one in fresh}) <= 3
    assert filling
