"""Recorded typing in real programs, replayed over links of 50, 150 and 400 ms (and 800 ms: beside a greedy flow).

The floors are a little below what was measured. Of a log about 1 to 5 keys are lost to the program's first character, which has
to come true before anything is drawn; that weighs more the longer the link and the shorter the log.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.record_typing import SECRET, SESSIONS
from tests.support.typing_replay import load, replay

FOLDER = Path(__file__).parents[2] / "data" / "typing"
RTTS_MS = (50, 150, 400)

FLOORS = {
    "bash_patient": (0.990, 0.985, 0.972),
    "bash_hurried": (
        0.990,
        0.985,
        0.900,
    ),  # 100 ms after Enter: 400 ms of each line are behind the barrier
    "bash_bottom": (0.980, 0.960, 0.920),  # a line that scrolls the screen
    "bash_editing": (0.988, 0.970, 0.915),
    "zsh": (0.990, 0.982, 0.962),
    "fish": (0.988, 0.980, 0.955),
    "python": (0.930, 0.870, 0.750),  # class R: one character of each line
    "cat": (0.980, 0.970, 0.905),
    "vim": (0.855, 0.835, 0.770),  # class A: eight letters of each insertion
    "less": (0.940, 0.880, 0.720),
    "read_s": (0.980, 0.965, 0.920),
    "read_s_silent": (0.980, 0.965, 0.920),
    "getpass": (0.985, 0.980, 0.950),
    "su": (0.950, 0.905, 0.905),
    "sudo": (0.980, 0.960, 0.905),
    "ssh_keygen": (0.985, 0.975, 0.945),
    "ssh_keygen_asks": (0.920, 0.905, 0.875),  # its first question is echoed, but not drawn
    "tmux": (0.840, 0.825, 0.740),
    "mixed": (0.965, 0.950, 0.895),
}
"""Share of predictable keys that are seen within 20 ms, for each of RTTS_MS."""


@cache
def log_of(name: str) -> dict[str, Any]:
    return load(FOLDER / f"{name}.json.gz")


def test_every_log_has_a_floor() -> None:
    recorded = {path.name.partition(".")[0] for path in FOLDER.iterdir()}
    assert recorded == set(FLOORS) == {session.__name__ for session in SESSIONS}


@pytest.mark.parametrize("name", FLOORS)
@pytest.mark.parametrize("at", range(len(RTTS_MS)))
def test_keys_are_seen_at_once_and_none_is_wrong(name: str, at: int) -> None:
    score = replay(log_of(name), RTTS_MS[at] / 1000, secret=SECRET)
    assert score.share >= FLOORS[name][at], score.misses
    assert score.wrong == 0, score.mistakes
    assert score.secrets == []
    assert score.counters.shown == score.counters.right


@pytest.mark.parametrize("rtt_ms", [200, 500, 1000])
@pytest.mark.parametrize("name", [name for name in FLOORS if name not in {"vim", "python", "less"}])
def test_no_link_draws_a_secret(name: str, rtt_ms: int) -> None:
    assert replay(log_of(name), rtt_ms / 1000, secret=SECRET).secrets == []


@pytest.mark.parametrize("name", ["bash_hurried", "fish", "mixed", "read_s"])
def test_without_word_of_what_is_applied(name: str) -> None:
    score = replay(log_of(name), 0.15, secret=SECRET, tell_applied=False)
    assert score.share >= 0.94, score.misses
    assert score.wrong == 0, score.mistakes
    assert score.secrets == []


@pytest.mark.parametrize("name", ["bash_patient", "zsh"])
def test_beside_a_greedy_flow(name: str) -> None:
    score = replay(log_of(name), 0.8, secret=SECRET)
    assert score.share >= 0.92, score.misses
    assert score.wrong == 0, score.mistakes


def test_the_replay_sees_what_is_not_drawn_and_what_is_secret() -> None:
    """Positive control: a log whose secrets are called something else is caught, a link that is too fast shows nothing early."""
    score = replay(log_of("bash_patient"), 0.15, secret=": ")
    assert score.secrets
    assert replay(log_of("bash_patient"), 0.025).share < 0.6


def test_a_log_holds_what_it_is_for() -> None:
    """Keys of secrets were typed while the terminal echoed still, and while it did not."""
    for name in ("read_s", "getpass", "su", "sudo", "ssh_keygen"):
        log = log_of(name)
        assert any(event[0] == "k" and "s" in event[3] for event in log["events"])
        assert any(tty[1] & 3 == 2 for tty in log["ttys"]), name
