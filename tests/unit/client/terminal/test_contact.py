"""Silence, by a clock of the test's: what is asked, what the user is told, and what ends it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from qsh.client.terminal.contact import (
    GRACE_S,
    IN_USE_S,
    PROBE_S,
    SECOND_TRY_S,
    STOPPED_S,
    ContactWatch,
)
from qsh.session.repetition import Repetition
from qsh.session.typed_log import TypedLog

NOW = 10.0


class Setup:
    def __init__(self) -> None:
        self.packets = self.probes = self.reports = self.attempts = self.stops = 0
        self.notices: list[str | None] = []
        self.channel = SimpleNamespace(
            heard=object(), stats=lambda: {"received_packets": self.packets}
        )
        display = SimpleNamespace(notice=lambda text, _: self.notices.append(text))
        self.log = TypedLog()
        self.reattaching = SimpleNamespace(
            ticket=b"t", why="", lost_s=NOW, start=self._start, heard=self._stop
        )
        self.watch = ContactWatch(
            self.channel,  # type: ignore[arg-type]
            SimpleNamespace(display=display, show=lambda _: None),  # type: ignore[arg-type]
            SimpleNamespace(log=self.log, repetition=Repetition(NOW), send_probe=self._probe),  # type: ignore[arg-type]
            SimpleNamespace(send_datagram=self._report),  # type: ignore[arg-type]
            self.reattaching,  # type: ignore[arg-type]
            escape=ord("~"),
            now=NOW,
        )
        self.watch.begin()

    def _start(self) -> None:
        self.attempts += 1

    def _stop(self) -> None:
        self.stops += 1

    def _probe(self, _now: float) -> bool:
        self.probes += 1
        return len(self.log) > 0

    def _report(self) -> None:
        self.reports += 1


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_a_terminal_in_use_asks_after_silence(setup: Setup) -> None:
    assert setup.watch.deadline(NOW) == NOW + PROBE_S
    setup.watch.look(NOW + PROBE_S / 2)
    assert setup.reports == 0
    setup.watch.look(NOW + PROBE_S)
    assert setup.reports == 1
    assert setup.notices == []


def test_the_longer_it_was_not_used_the_seldomer_it_asks(setup: Setup) -> None:
    now = NOW
    asked = []
    while (due := setup.watch.deadline(now)) is not None:
        now = due
        setup.watch.look(now)
        asked.append(now - NOW)
        setup.watch.heard(now)
    assert setup.reports == len(asked)
    assert asked[:5] == [1, 2, 3, 4, 5]
    assert len(asked) <= 20, "not every second of the minute"
    assert asked[-1] > IN_USE_S - 15


def test_nobody_asks_for_a_terminal_that_is_not_used(setup: Setup) -> None:
    later = NOW + IN_USE_S + PROBE_S
    setup.watch.heard(later)
    assert setup.watch.deadline(later) is None
    setup.watch.look(later + 100)
    assert setup.reports == 0
    setup.watch.used(later)
    assert setup.watch.deadline(later) == later + PROBE_S


def test_without_an_answer_the_user_is_told_and_a_word_takes_it_back(setup: Setup) -> None:
    setup.watch.ask(NOW)
    setup.watch.look(NOW + 2.0)
    assert setup.notices == ["qsh: no contact for 2 s; Enter ~. ends, ~d leaves"]
    assert setup.watch.notice_is_on
    setup.watch.heard(NOW + 2.1)
    assert setup.notices[-1] is None
    assert not setup.watch.notice_is_on


def test_any_packet_is_a_word(setup: Setup) -> None:
    setup.watch.ask(NOW)
    setup.packets += 1
    setup.watch.look(NOW + 2.0)
    assert setup.notices == []


def test_after_long_silence_another_connection_is_tried_until_the_host_is_heard(
    setup: Setup,
) -> None:
    setup.watch.ask(NOW)
    setup.watch.look(NOW + SECOND_TRY_S - 0.1)
    assert setup.attempts == 0
    setup.watch.look(NOW + SECOND_TRY_S)
    assert setup.attempts == 1
    setup.watch.heard(NOW + SECOND_TRY_S)
    assert setup.stops == 1


def test_probes_take_small_input_along_or_are_reports(setup: Setup) -> None:
    setup.watch.ask(NOW)
    assert setup.watch.probe_s is not None
    setup.watch.look(setup.watch.probe_s)
    assert (setup.probes, setup.reports) == (1, 1)
    setup.log.append(b"x")
    setup.watch.look(setup.watch.probe_s)
    assert (setup.probes, setup.reports) == (2, 1)


def test_a_connection_that_is_replaced_soon_was_no_loss(setup: Setup) -> None:
    setup.channel.heard = None
    setup.watch.look(NOW + GRACE_S / 2)
    assert setup.notices == []
    setup.reattaching.why = "the server was stopped"
    setup.watch.look(NOW + GRACE_S)
    assert setup.notices[0] is not None
    assert setup.notices[0].endswith("the server was stopped")


def test_a_terminal_that_cannot_come_back_is_not_spoken_of(setup: Setup) -> None:
    setup.reattaching.ticket = b""
    setup.watch.ask(NOW)
    setup.watch.look(NOW + 60.0)
    assert setup.notices == []


def test_a_session_that_was_stopped_is_not_the_host_s_silence(setup: Setup) -> None:
    """Packets come (acknowledgements of the front's), and of what was typed the session says nothing."""
    setup.log.append(b"ls\r")
    setup.watch.ask(NOW)
    now = NOW
    while now < NOW + STOPPED_S + 2:
        setup.packets += 1
        now = setup.watch.deadline(now) or now
        setup.watch.look(now)
    assert setup.attempts == 0, "another connection would lead to the same session"
    assert setup.notices[0] == (
        "qsh: no answer from the session for 5 s; 3 keys wait; Enter ~. ends, ~d leaves"
    )
    assert None not in setup.notices
    setup.watch.heard(now)
    assert setup.notices[-1] is None


def test_a_session_that_says_anything_was_not_stopped(setup: Setup) -> None:
    setup.log.append(b"ls\r")
    setup.watch.ask(NOW)
    for second in range(20):
        setup.packets += 1
        setup.watch.heard(NOW + second)
        setup.watch.look(NOW + second + 0.5)
    assert setup.notices == []
