"""Faults of the network and of processes, one after the other at random moments: no byte of a terminal is lost or doubled.

For minutes, or once more with the same chances:

    QSH_FAULTS_S=600 QSH_FAULTS_SEED=1234 python -m pytest tests/e2e/test_faults.py
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from qsh.clock import monotonic_s
from tests.e2e.test_terminal_kill import (
    EXTRA,
    Work,
    cut,
    kill_front,
    stop_client,
    stop_front,
    words,
    work_on,
)
from tests.support.live_server import LiveServer
from tests.support.relay import Relay
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.tool("tmux"), pytest.mark.slow]

SECONDS = float(os.environ.get("QSH_FAULTS_S", "40" if os.environ.get("CI") else "15"))
SEED = int(os.environ.get("QSH_FAULTS_SEED", "0")) or random.randrange(1, 1 << 31)
PAUSE_S = 0.05
LIMIT_S = 30.0


def move(_work: Work, relay: Relay, _source: random.Random) -> None:
    relay.move()


def lose(_work: Work, relay: Relay, source: random.Random) -> None:
    relay.loss = source.choice([0.0, 0.0, 0.01, 0.1, 0.3])


def delay(_work: Work, relay: Relay, source: random.Random) -> None:
    relay.delay_ms = source.choice([0.0, 5.0, 50.0, 150.0])


FAULTS = [kill_front, stop_front, cut, cut, stop_client, move, move, lose, lose, delay, delay]


def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    print(f"QSH_FAULTS_SEED={SEED}")  # pytest shows it beside a failure
    source = random.Random(SEED)
    (tmp_path / "qshd").mkdir()
    server = LiveServer(tmp_path / "qshd", extra=EXTRA)
    happened = 0
    try:
        with Relay(server.port, delay_ms=10, seed=SEED) as relay:
            work, typing = Work(server, tmp_path, relay.through, pause_s=PAUSE_S), words(source)
            try:
                end_s = monotonic_s() + SECONDS
                while monotonic_s() < end_s:
                    work_on(work, source, source.uniform(0.05, 1), typing)
                    fault = source.choice(FAULTS)
                    print(fault.__name__)
                    fault(work, relay, source)
                    happened += 1
                relay.loss = 0.0
                work.type("calm ")
                wait_until(
                    lambda: "heard calm" in work.lines(), "what was typed at the end", LIMIT_S
                )
                work.end()
            finally:
                work.screen.close()
    finally:
        server.stop()
    assert happened > SECONDS / 5
