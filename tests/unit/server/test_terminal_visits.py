"""What the front asks of channels that are attached to terminals."""

from __future__ import annotations

from typing import Any, cast

from qsh.server.client_calls import Callee
from qsh.server.requests import CallEnded, HangUp, Resize, SendSignal
from qsh.server.terminal_clients import Visitor
from qsh.server.terminal_visits import TerminalVisits


class Heard:
    """A terminal or a relay: what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *words: self.heard.append((name, *words))


def visits() -> tuple[TerminalVisits, Heard, Visitor, Heard]:
    found = TerminalVisits()
    terminal, relay = Heard(), Heard()
    visitor = Visitor("192.0.2.1", lambda: None, Callee({"agent"}, lambda *_: None))
    found.here(4, cast("Any", terminal), visitor)
    return found, terminal, visitor, relay


def test_the_path_is_told_to_all_and_to_who_comes_later() -> None:
    found, terminal, visitor, relay = visits()
    assert terminal.heard == []  # nothing is known of it yet
    found.path(0.1, 20)
    assert terminal.heard == [("path_of", visitor, 0.1, 20)]
    found.elsewhere(8, cast("Any", relay))
    assert relay.heard == [("path", 0.1, 20)]


def test_requests_reach_another_host() -> None:
    found, _, _, relay = visits()
    found.elsewhere(8, cast("Any", relay))
    found.take(HangUp(8))
    found.take(CallEnded(8, "agent"))
    found.close()
    assert relay.heard == [("hang_up",), ("call_ended", "agent"), ("close",)]


def test_requests_reach_the_terminal_of_this_host() -> None:
    found, terminal, visitor, _ = visits()
    found.take(HangUp(4))
    found.take(SendSignal(4, "INT"))
    found.take(Resize(4, 24, 80))  # comes as a frame of the terminal's stream instead
    assert terminal.heard == [("hang_up_of", visitor), ("signal", "INT")]


def test_a_call_that_ended_makes_room_for_another() -> None:
    found, _, visitor, _ = visits()
    assert visitor.callee is not None
    visitor.callee._open["agent"] = 1
    found.take(CallEnded(4, "agent"))
    assert visitor.callee._open == {"agent": 0}


def test_a_channel_that_is_forgotten_is_free() -> None:
    found, _, _, _ = visits()
    assert 4 in found
    assert found.channels == {4}
    found.forget(4)
    found.forget(4)
    assert 4 not in found


def test_terminals_stay_when_the_front_goes() -> None:
    found, terminal, _, _ = visits()
    found.close()
    assert terminal.heard == []
    assert found.channels == set()
