"""Several clients of one terminal: whose size it has, who gets raw output, who is called."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from qsh.server.client_calls import Callee
from qsh.server.terminal_clients import MAX_ROWS, TerminalClients, Visitor


class FakeAttachment:
    """What clients are asked for."""

    def __init__(self, rows: int, cols: int, *, read_only: bool = False) -> None:
        self.size = (rows, cols, rows * 10, cols * 10)
        self.read_only = read_only
        self.over = self.may_pass = self.passing = False
        self.started = True
        self.silent_at: float | None = None
        self.updated: list[float] = []

    def update(self, now: float) -> None:
        self.updated.append(now)


class Terminal:
    """A model of a size, and its clients."""

    def __init__(self, rows: int = 24, cols: int = 80) -> None:
        self.model = SimpleNamespace(size=(rows, cols))
        self.clients = TerminalClients(cast("Any", self.model))

    def enter(
        self, rows: int, cols: int, *, read_only: bool = False, kinds: set[str] | None = None
    ) -> tuple[FakeAttachment, Visitor, Any]:
        attachment = FakeAttachment(rows, cols, read_only=read_only)
        link = cast("Any", SimpleNamespace(attachment=attachment))
        callee = Callee(cast("Any", kinds), lambda *_: None) if kinds else None
        visitor = Visitor("192.0.2.1", lambda: None, callee)
        self.clients.enter(link, visitor)
        return attachment, visitor, link


def test_the_smallest_of_each_dimension_is_the_terminals() -> None:
    terminal = Terminal()
    assert terminal.clients.smallest_size() is None
    terminal.enter(50, 80)
    assert terminal.clients.smallest_size() == (50, 80, 500, 800)
    terminal.enter(24, 200)
    assert terminal.clients.smallest_size() == (24, 80, 0, 0)  # nobody's window, so no pixels


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ((0, 80, 1, 2), (24, 80, 1, 2)),
        ((40, 0, 1, 2), (24, 80, 1, 2)),
        ((9999, 1, 1, 2), (MAX_ROWS, 2, 1, 2)),
    ],
)
def test_odd_sizes(asked: tuple[int, int, int, int], got: tuple[int, int, int, int]) -> None:
    assert Terminal().clients.clamped(asked) == got


def test_a_size_that_the_model_cut_is_that_of_who_asked() -> None:
    terminal = Terminal()
    large, _, _ = terminal.enter(400, 900)
    small, _, _ = terminal.enter(10, 20)
    terminal.model.size = (300, 600)
    terminal.clients.resized((400, 900, 7, 8))
    assert large.size == (300, 600, 7, 8)
    assert small.size[:2] == (10, 20)


def test_the_newest_with_the_terminals_size_who_may_type_gets_raw_output() -> None:
    terminal = Terminal(24, 80)
    first, _, _ = terminal.enter(24, 80)
    second, _, _ = terminal.enter(24, 80)
    other_size, _, _ = terminal.enter(30, 80)
    looks_on, _, _ = terminal.enter(24, 80, read_only=True)
    terminal.clients.choose_passing(1.0)
    assert [a.may_pass for a in (first, second, other_size, looks_on)] == [
        False,
        True,
        False,
        False,
    ]
    assert second.updated == []
    assert first.updated == [1.0]  # so it may change to paintings
    second.over = True
    terminal.clients.choose_passing(2.0)
    assert first.may_pass


def test_raw_output_goes_to_who_has_begun() -> None:
    terminal = Terminal()
    one, _, _ = terminal.enter(24, 80)
    one.passing, one.started = True, False
    assert terminal.clients.passing is None
    one.started = True
    assert terminal.clients.passing is cast("Any", one)


def test_who_is_silent_does_not_count_for_the_size() -> None:
    terminal = Terminal()
    small, _, _ = terminal.enter(10, 20)
    terminal.enter(24, 80)
    small.silent_at = 7.0
    assert not terminal.clients.look_for_silence(6.9)
    assert terminal.clients.look_for_silence(7.0)
    assert terminal.clients.smallest_size() == (24, 80, 240, 800)
    assert (terminal.clients.attached, terminal.clients.silent) == (2, 1)
    small.silent_at = None
    assert terminal.clients.look_for_silence(8.0)
    assert terminal.clients.smallest_size() == (10, 20, 100, 200)


def test_if_all_are_silent_all_count() -> None:
    terminal = Terminal()
    only, _, _ = terminal.enter(10, 20)
    only.silent_at = 0.0
    terminal.clients.look_for_silence(1.0)
    assert terminal.clients.smallest_size() == (10, 20, 100, 200)


def test_calls_go_to_the_newest_who_takes_them_and_is_there() -> None:
    terminal = Terminal()
    _, agent, _ = terminal.enter(24, 80, kinds={"agent"})
    newest, both, _ = terminal.enter(24, 80, kinds={"agent", "x11"})
    terminal.enter(24, 80)
    assert terminal.clients.callee("agent") is both.callee
    newest.silent_at = 0.0
    terminal.clients.look_for_silence(1.0)
    assert terminal.clients.callee("agent") is agent.callee
    assert terminal.clients.callee("x11") is None


def test_the_last_one_who_can_type() -> None:
    terminal = Terminal()
    _, types, _ = terminal.enter(24, 80)
    _, looks_on, _ = terminal.enter(24, 80, read_only=True)
    found = [terminal.clients.of(visitor) for visitor in (types, looks_on)]
    assert [client is not None and terminal.clients.types_alone(client) for client in found] == [
        True,
        False,
    ]
    other, _, _ = terminal.enter(24, 80)
    assert found[0] is not None
    assert not terminal.clients.types_alone(found[0])
    other.over = True
    assert terminal.clients.types_alone(found[0])


def test_who_left_leaves_once() -> None:
    terminal = Terminal()
    _, visitor, link = terminal.enter(24, 80)
    client = terminal.clients.leave(link)
    assert client is not None
    assert client.visitor is visitor
    assert terminal.clients.leave(link) is None
    assert len(terminal.clients) == 0
