"""Clients with two uplinks of which one goes bad while its link is up: a terminal moves, and no byte is lost or doubled."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.netns import Network
from tests.support.procs import Daemon, Files, LoginUser
from tests.support.terminal import wait_until
from tests.support.uplink import LIMIT_S, NAME, Uplink, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.netns import Wire

pytestmark = [pytest.mark.root, pytest.mark.tool("tmux")]

DELAY_MS = 10
SECOND_IP4, SECOND_IP6 = "10.78.1.1", "fd78::1"
PAUSE_S = 0.05
"""Between lines of the program: the traffic of somebody who works."""
KEY_S = 0.1
PROBE_BYTES = 1200
TURN_S = 4.0
MOST_FLAPS = 2
"""Moves in six turns."""
SINGLE_LOGIN = 1


class TwoUplinks(Uplink):
    """``wan0`` is what the system prefers, ``wan1`` the other one."""

    second: Wire

    def work(self, host: str) -> Work:
        log = self.log
        log.touch(0o666)
        return Work(self, host, "-vv", "-E", str(log), pause_s=PAUSE_S)

    @property
    def log(self) -> Path:
        return self.files.home / "client.log"

    def choices(self) -> list[str]:
        """Where the client went because it was better there."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line.split("going on by ")[1].strip() for line in lines if "going on by " in line]

    def logins(self) -> int:
        return sum("Accepted " in line for line in self.daemon.log)

    def by_family(self) -> None:
        """IPv4 has the first uplink alone, IPv6 the second one."""
        client, server = self.network.client, self.network.server
        for side, ip in ((client, SECOND_IP6), (server, "fd78::2")):
            side.run(["ip", "addr", "add", f"{ip}/64", "dev", "wan1", "nodad"], check=True)
        client.run(["ip", "route", "del", "default", "dev", "wan1"], check=True)
        client.run(["ip", "-6", "route", "del", "default", "dev", "wan0"], check=True)
        client.run(["ip", "-6", "route", "add", "default", "dev", "wan1"], check=True)


@pytest.fixture
def uplink() -> Iterator[TwoUplinks]:
    with two_uplinks() as found:
        yield found


@contextlib.contextmanager
def two_uplinks(denied: str = "192.0.2.9") -> Iterator[TwoUplinks]:
    with LoginUser() as user:
        rules = f"LogLevel INFO\nDenyUsers {user.name}@{denied}\n"
        with Files(user.name, server=rules) as files, _hosts(files, user) as found:
            yield found


@contextlib.contextmanager
def _hosts(files: Files, user: LoginUser) -> Iterator[TwoUplinks]:
    with Network.link(delay_ms=DELAY_MS) as network:
        second = network.second_link(delay_ms=DELAY_MS)
        with Daemon.qshd(files, side=network.server) as daemon:
            found = TwoUplinks(network, files, daemon, user)
            found.second = second
            try:
                yield found
            finally:  # what a failure shows
                print(found.log.read_text(errors="replace"), *daemon.log, sep="\n")


def typing(work: Work, until: Callable[[], bool], what: str, word: str = "typed") -> None:
    """Somebody types on until it is so."""
    number, typed_s = 0, 0.0

    def type_and_look() -> bool:
        nonlocal number, typed_s
        if (now := time.monotonic()) - typed_s >= KEY_S:
            work.type(f"{word}-{number} ")
            number, typed_s = number + 1, now
        return until()

    wait_until(type_and_look, what, limit_s=LIMIT_S)


def test_both_fine(uplink: TwoUplinks) -> None:
    """Nothing of ours goes by the second uplink."""
    work = uplink.work(uplink.network.server.ip4)
    try:
        numbers = range(100)
        for number in numbers:
            work.type(f"typed-{number} ")
            work.hears(f"typed-{number}")
        work.end()
        assert uplink.choices() == []
        assert uplink.second.set()["up"]["largest"] < PROBE_BYTES, "what the kernel says there"
        assert uplink.logins() == SINGLE_LOGIN
    finally:
        work.screen.close()


@pytest.mark.parametrize(
    "bad", [{"loss": 0.4}, {"delay_ms": 600}, {"cut": True}], ids=["loss", "delay", "silence"]
)
def test_the_first_uplink_goes_bad(uplink: TwoUplinks, bad: dict[str, float]) -> None:
    work = uplink.work(uplink.network.server.ip4)
    try:
        typing(work, lambda: len(work.typed) > 300, "work", "before")
        uplink.network.set(**bad)
        typing(work, lambda: SECOND_IP4 in uplink.moves(), "the move")
        work.type("after ")
        work.hears("after")
        assert uplink.choices()[0].endswith(" by wan1")
        assert uplink.logins() == SINGLE_LOGIN, "the connection itself has moved"
        work.end()
    finally:
        work.screen.close()


@pytest.mark.parametrize(
    "bad", [{"loss": 0.4}, {"delay_ms": 600}, {"cut": True}], ids=["loss", "delay", "silence"]
)
def test_the_first_family_goes_bad(uplink: TwoUplinks, bad: dict[str, float]) -> None:
    """Another address of the host's: a second connection, while the first one is there."""
    uplink.by_family()
    uplink.second.set(cut=True)
    work = uplink.work(NAME)
    try:
        uplink.second.set(cut=False)
        typing(work, lambda: len(work.typed) > 300, "work", "before")
        uplink.network.set(**bad)
        typing(work, lambda: uplink.logins() > SINGLE_LOGIN, "the second connection")
        work.type("after ")
        work.hears("after")
        assert uplink.choices() == [uplink.network.server.ip6]
        work.end()
    finally:
        work.screen.close()


def test_a_better_way_that_the_servers_rules_forbid() -> None:
    """The connection goes back, and does not try that way again; nothing has ended."""
    with two_uplinks(denied=SECOND_IP4) as uplink:
        work = uplink.work(uplink.network.server.ip4)
        try:
            typing(work, lambda: len(work.typed) > 300, "work", "before")
            uplink.network.set(delay_ms=200)
            refused = f"moved to {SECOND_IP4} "
            typing(work, lambda: any(refused in line for line in uplink.daemon.log), "the move")
            home = uplink.network.client.ip4
            typing(work, lambda: uplink.moves()[-1:] == [home], "the way back", "back")
            typing(work, lambda: len(work.typed) > 2500, "more work", "later")
            assert uplink.moves()[-1] == home
            assert len(uplink.choices()) == 1
            assert uplink.logins() == SINGLE_LOGIN
            work.type("after ")
            work.hears("after")
            work.end()
        finally:
            work.screen.close()


def test_a_second_uplink_that_dies_after_the_move(uplink: TwoUplinks) -> None:
    work = uplink.work(uplink.network.server.ip4)
    try:
        typing(work, lambda: len(work.typed) > 300, "work", "before")
        uplink.network.set(loss=0.4)
        typing(work, lambda: SECOND_IP4 in uplink.moves(), "the move")
        uplink.second.set(cut=True)
        uplink.network.set(loss=0.0)
        back = uplink.network.client.ip4
        typing(work, lambda: uplink.moves()[-1] == back, "the way back", "later")
        work.type("after ")
        work.hears("after")
        assert uplink.logins() == SINGLE_LOGIN
        work.end()
    finally:
        work.screen.close()


def test_an_uplink_that_is_good_and_bad_by_turns(uplink: TwoUplinks) -> None:
    work = uplink.work(uplink.network.server.ip4)
    try:
        typing(work, lambda: len(work.typed) > 300, "work", "before")
        for turn in range(6):
            bad, good = (uplink.network, uplink.second)[:: 1 if turn % 2 else -1]
            good.set(delay_ms=DELAY_MS)
            bad.set(delay_ms=300)
            end_s = time.monotonic() + TURN_S
            typing(work, lambda end_s=end_s: time.monotonic() >= end_s, "a turn", f"turn{turn}")  # type: ignore[misc]
        assert 1 <= len(uplink.choices()) <= MOST_FLAPS, "each move makes the next one wait longer"
        work.type("after ")
        work.hears("after")
        work.end()
    finally:
        work.screen.close()
