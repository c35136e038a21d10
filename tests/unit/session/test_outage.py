"""When a client was out of reach."""

from __future__ import annotations

from qsh.session.outage import OVERTAKE_MIN_S, OVERTAKE_RTTS, SILENCE_RTTS, SILENCE_S, Outage


def test_who_had_nothing_to_acknowledge_was_merely_quiet() -> None:
    outage = Outage(0.0)
    assert not outage.heard(100.0, None, 0.1)


def test_silence_counts_from_the_last_word_and_from_what_was_sent() -> None:
    outage = Outage(0.0)
    assert not outage.heard(5.0, 4.5, 0.1)  # sent lately
    assert not outage.heard(5.0 + SILENCE_S - 0.01, 4.5, 0.1)  # heard of lately
    assert outage.heard(5.0 + 2 * SILENCE_S, 4.5, 0.1)
    assert not outage.heard(5.1 + 2 * SILENCE_S, 4.5, 0.1)


def test_on_a_long_path_silence_is_longer() -> None:
    outage = Outage(0.0)
    assert not outage.heard(SILENCE_RTTS * 1.0 - 0.1, 0.0, 1.0)
    assert outage.heard(2 * SILENCE_RTTS * 1.0, 0.0, 1.0)


def test_datagrams_overtake_for_a_while() -> None:
    outage = Outage(0.0)
    assert not outage.overtaking(0.0)
    outage.ended(10.0, 0.001)
    assert outage.overtaking(10.0 + OVERTAKE_MIN_S - 0.01)
    assert not outage.overtaking(10.0 + OVERTAKE_MIN_S)
    outage.ended(20.0, 1.0)
    assert outage.overtaking(20.0 + OVERTAKE_RTTS - 0.01)
