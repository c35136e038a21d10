"""Refusals take the same time whatever was wrong."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qsh.server.failure_delay import STEP_S, failure_delay_s


@given(st.text(), st.floats(0, 60), st.binary(min_size=16, max_size=16))
def test_the_answer_falls_on_a_step_of_the_user(user: str, elapsed_s: float, salt: bytes) -> None:
    total = failure_delay_s(user, elapsed_s, salt) + elapsed_s
    step = failure_delay_s(user, 0, salt)
    assert STEP_S <= step <= STEP_S * 1.25
    ratio = total / step
    assert any(abs(ratio - 2**n) < 1e-6 for n in range(12))
    assert total >= elapsed_s


def test_users_differ_but_each_is_constant() -> None:
    salt = b"s" * 16
    steps = {failure_delay_s(f"user{n}", 0, salt) for n in range(50)}
    assert len(steps) > 40
    assert failure_delay_s("anna", 0.01, salt) + 0.01 == failure_delay_s("anna", 0.02, salt) + 0.02
