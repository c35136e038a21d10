"""The order of attempts, and when the next begins."""

from __future__ import annotations

import errno
import socket

from qsh.forward.dialing import PAUSE_S, Address, Dial

SIX = [Address(socket.AF_INET6, ("::1", port)) for port in range(3)]
FOUR = [Address(socket.AF_INET, ("127.0.0.1", port)) for port in range(2)]


def test_families_alternate() -> None:
    dial = Dial([*SIX, *FOUR])
    order = []
    while (address := dial.due(0.0)) is not None:
        order.append(address)
        dial.failed(errno.ECONNREFUSED)
    assert order == [SIX[0], FOUR[0], SIX[1], FOUR[1], SIX[2]]
    assert dial.over
    assert dial.error == errno.ECONNREFUSED


def test_a_silent_one_is_given_a_pause() -> None:
    dial = Dial([*SIX[:1], *FOUR])
    assert dial.due(5.0) == SIX[0]
    assert dial.due(5.0) is None
    assert dial.deadline == 5.0 + PAUSE_S
    assert dial.due(5.0 + PAUSE_S) == FOUR[0]
    dial.failed(errno.ECONNREFUSED)
    assert dial.due(5.0 + PAUSE_S) == FOUR[1], "after a failure the next need not wait"
    assert dial.deadline is None
    dial.failed(errno.ENETUNREACH)
    assert not dial.over, "the silent one is still there"
    dial.failed(errno.ETIMEDOUT)
    assert dial.over


def test_nothing_to_try() -> None:
    dial = Dial([])
    assert dial.over
    assert dial.due(0.0) is None
