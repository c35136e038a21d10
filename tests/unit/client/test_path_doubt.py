"""When a path gives reason to look at others, by a clock that the test turns."""

from __future__ import annotations

from qsh.client.path_doubt import DELAY, LOSS, SILENCE, Figures, PathDoubt

RTT_S = 0.1


def used(doubt: PathDoubt, start: float, seconds: int, lost: int = 0, rtt_s: float = RTT_S) -> None:
    """A connection that sends 20 packets in a second and loses so many of them; all else is answered."""
    for second in range(seconds):
        sent = int(start + second) * 20
        figures = Figures(rtt_s, sent, second * lost, sent)
        doubt.figures(start + second, figures)


def test_a_path_that_does_well() -> None:
    doubt = PathDoubt(0.0)
    used(doubt, 1.0, 60, lost=1)
    assert doubt.reason(61.0) == ""
    assert doubt.rtt_s == RTT_S
    assert doubt.silence_due_s is None


def test_silence_after_a_question() -> None:
    doubt = PathDoubt(0.0)
    used(doubt, 1.0, 1)
    doubt.asked(2.0, 20)
    assert doubt.waits
    due = doubt.silence_due_s
    assert due == 2.3
    assert doubt.reason(2.2) == ""
    assert doubt.reason(due) == SILENCE
    assert doubt.silent_s(3.0) == 1.0
    doubt.heard(20)
    assert doubt.reason(3.0) == SILENCE, "nothing new was heard"
    doubt.heard(21)
    assert doubt.reason(3.0) == ""
    assert doubt.silent_s(3.0) == 0.0


def test_a_long_path_is_waited_for_longer() -> None:
    doubt = PathDoubt(0.0)
    used(doubt, 1.0, 1, rtt_s=0.2)
    doubt.asked(2.0, 20)
    assert doubt.silence_due_s == 2.5


def test_packets_that_get_lost() -> None:
    doubt = PathDoubt(0.0)
    used(doubt, 1.0, 3, lost=6)
    assert doubt.reason(3.0) == LOSS
    used(doubt, 20.0, 2)
    assert doubt.reason(21.0) == "", "what was ten seconds ago says nothing of now"


def test_a_round_trip_that_grows() -> None:
    doubt = PathDoubt(0.0)
    used(doubt, 1.0, 5, rtt_s=0.04)
    used(doubt, 6.0, 1, rtt_s=0.13)
    assert doubt.reason(6.0) == ""
    used(doubt, 7.0, 1, rtt_s=0.15)
    assert doubt.reason(7.0) == DELAY


def test_one_that_is_long_anyway() -> None:
    doubt = PathDoubt(0.0)
    used(doubt, 1.0, 5, rtt_s=0.4)
    assert doubt.reason(5.0) == DELAY


def test_averages_of_the_path_before_do_not_count_after_a_move() -> None:
    doubt = PathDoubt(0.0)
    used(doubt, 1.0, 5, lost=6, rtt_s=0.4)
    doubt.moved(6.0, 0.02)
    used(doubt, 7.0, 2, lost=6, rtt_s=0.35)
    assert doubt.reason(8.0) == ""
    used(doubt, 10.0, 1, rtt_s=0.3)
    assert doubt.reason(10.0) == DELAY
