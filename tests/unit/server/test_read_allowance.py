"""Output that is read while no client holds it back."""

from __future__ import annotations

import pytest

from qsh.server.read_allowance import BURST, BYTES_S, ReadAllowance


def test_a_burst_and_then_what_time_brings() -> None:
    allowance = ReadAllowance(10.0)
    assert allowance.bytes(10.0) == BURST
    allowance.took(BURST)
    assert allowance.bytes(10.0) == 0
    assert allowance.wait_s(8000) == 8000 / BYTES_S
    assert allowance.bytes(10.0 + BURST / BYTES_S / 2) == pytest.approx(BURST / 2, abs=1)
    assert allowance.wait_s(8000) is None


def test_a_pause_saves_no_more_than_a_burst() -> None:
    allowance = ReadAllowance(0.0)
    assert allowance.bytes(1e6) == BURST
