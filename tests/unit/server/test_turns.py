"""Whose login is judged next when many wait."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

import pytest

from qsh.server import turns as module
from qsh.server.login_children import LoginChildren, Session
from qsh.server.requests import Login
from qsh.server.turns import Turns, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = ("192.0.2.2", 22)


class World:
    """Login children without processes."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.children = LoginChildren(self.selector, lambda _: None)
        self.turns = Turns(self.children)
        self.now = 100.0

    def ask(
        self, number: int, user: str = "anna", host: str = "192.0.2.1", method: str = ""
    ) -> None:
        login = Login(number.to_bytes(32, "big"), user, (host, number), SERVER, method=method)
        self.turns.add(Waiting(login, b"", 200.0))

    def begin(self) -> list[int]:
        """Those whose turn it is."""
        begun = []
        while (waiting := self.turns.next(self.now)) is not None:
            session, theirs = self.children.new(waiting.login, waiting.deadline_s)
            theirs.close()
            session.began_s = self.now
            begun.append(waiting.login.client[1])
        return begun

    def judged(self, number: int) -> None:
        self.children.forget(self.session(number))

    def session(self, number: int) -> Session:
        (found,) = self.children.of(number.to_bytes(32, "big"))
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    made = World()
    yield made
    for session in list(made.children.sessions.values()):
        made.children.forget(session)
    made.selector.close()


def test_so_many_at_once_and_the_next_in_order(world: World) -> None:
    for number in range(5):
        world.ask(number)
    assert world.begin() == [0, 1]
    world.judged(1)
    assert world.begin() == [2]
    world.judged(0)
    world.judged(2)
    assert world.begin() == [3, 4]
    assert world.turns.deadlines_s(world.now) == []


def test_what_takes_long_holds_up_nobody(world: World) -> None:
    for number in range(3):
        world.ask(number)
    assert world.begin() == [0, 1]
    assert min(world.turns.deadlines_s(world.now)) == 101.0
    world.now = 101.0
    assert world.begin() == [2]


@pytest.mark.parametrize(
    ("user", "host", "first"),
    [
        ("slow", "192.0.2.1", 2),
        ("slow", "192.0.2.9", 2),
        ("anna", "192.0.2.1", 2),
        ("anna", "192.0.2.9", 9),
    ],
)
def test_others_come_before_the_like_of_those_that_take_long(
    world: World, user: str, host: str, first: int
) -> None:
    """Else one whose names are slow would have everybody wait for as many seconds as it has logins."""
    for number in range(6):
        world.ask(number, "slow")
    world.begin()
    world.ask(9, user, host)
    world.now = 101.0
    assert world.begin()[0] == first


def test_who_goes_away_waits_no_more(world: World) -> None:
    for number in range(4):
        world.ask(number)
    world.begin()
    left = world.turns.leave((2).to_bytes(32, "big"))
    assert left is not None
    assert left.client[1] == 2
    assert world.turns.leave((2).to_bytes(32, "big")) is None
    world.judged(0)
    assert world.begin() == [3]


def test_a_dialogue_waits_for_nobody_and_nobody_for_it(world: World) -> None:
    for number in range(2):
        world.ask(number)
    for number in (5, 6, 7):
        world.ask(number, method="password")
    world.ask(8)
    assert sorted(world.begin()) == [0, 1, 5, 6, 7]
    world.judged(0)
    assert world.begin() == [8]


def test_nobody_waits_longer_than_his_time(world: World) -> None:
    for number in range(3):
        world.ask(number)
    world.begin()
    assert world.turns.expired(199.9) == []
    assert [each.client[1] for each in world.turns.expired(200.0)] == [2]
    assert world.turns.deadlines_s(200.0) == []


def test_those_who_wait_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    world.ask(1)
    assert not world.turns.are_many
    world.ask(2)
    assert world.turns.are_many
    world.turns.leave_all()
    assert not world.turns.are_many
