"""Lost contact: when, and how it is told."""

from __future__ import annotations

import pytest

from qsh.terminal.notice import Contact, line


def test_silence_alone_is_not_a_loss() -> None:
    contact = Contact(0.0)
    assert not contact.lost(1e6)
    assert contact.deadline is None


@pytest.mark.parametrize(("rtt_s", "patience_s"), [(0.0, 1.0), (0.1, 1.0), (0.5, 1.5)])
def test_lost_after_a_second_or_three_round_trips(rtt_s: float, patience_s: float) -> None:
    contact = Contact(0.0)
    contact.rtt(rtt_s)
    assert contact.asked(10.0)
    assert not contact.asked(10.5)  # the first question counts
    assert contact.deadline == pytest.approx(10.0 + patience_s)
    assert not contact.lost(10.0 + patience_s - 0.01)
    assert contact.lost(10.0 + patience_s)


def test_any_word_ends_the_waiting() -> None:
    contact = Contact(0.0)
    contact.asked(1.0)
    contact.heard(1.5)
    assert not contact.waiting
    assert not contact.lost(100.0)
    assert contact.heard_s == 1.5


@pytest.mark.parametrize(
    ("silence_s", "shown"),
    [(3.9, "3 s"), (119.0, "119 s"), (125.0, "2 min 5 s"), (3 * 3600 + 61, "3 h 1 min")],
)
def test_the_line_says_how_long(silence_s: float, shown: str) -> None:
    assert line(silence_s) == f"qsh: no contact for {shown}"


def test_the_line_says_why_what_waits_and_which_keys_work() -> None:
    text = line(4.0, reason="server \x1b[stopped", waiting=2, escape="~")
    assert text == (
        "qsh: no contact for 4 s; 2 keys wait; Enter ~. ends, ~d leaves; server ?[stopped"
    )
    assert "1 key waits" in line(1.0, waiting=1)
