"""Silence of seconds, minutes and a day, and clocks that jump: what runs goes on, and no byte is lost or doubled.

Minutes and days are jumps of both sides' monotonic clocks (libfaketime), which is what each of them sees of an outage.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_terminal_kill import EXTRA, Work, words, work_on
from tests.support.live_server import LiveServer
from tests.support.procs import tree
from tests.support.relay import Relay
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.tool("tmux"), pytest.mark.tool("faketime"), pytest.mark.slow]

SEED = 6


class Clock:
    """The time of all processes that begin with :attr:`prefix`, as far ahead as the file says."""

    def __init__(self, file: Path, *, wall_only: bool = False) -> None:
        self._file = file
        self.advance(0)
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        self.prefix = (
            "env",
            f"LD_PRELOAD={library}",
            f"FAKETIME_TIMESTAMP_FILE={file}",
            "FAKETIME_NO_CACHE=1",
            *(["FAKETIME_DONT_FAKE_MONOTONIC=1"] if wall_only else []),
        )

    def advance(self, seconds: float) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.replace(self._file)


@contextlib.contextmanager
def faked(folder: Path, clock: Clock, who: str = "both") -> Iterator[LiveServer]:
    """A server that has the clock, and its clients have it, too: or only one side (``server``, ``client``)."""

    class Faked(LiveServer):
        prefix = clock.prefix if who != "client" else ()

        def command(self, *words: str, options: tuple[str, ...] = ()) -> list[str]:
            prefix = clock.prefix if who != "server" else ()
            return [*prefix, *super().command(*words, options=options)]

    home = folder / "qshd"
    home.mkdir()
    server = Faked(home, extra=EXTRA)
    try:
        yield server
    finally:
        server.stop()


def has_the_clock(name: str, server: LiveServer) -> bool:
    """Whether the library is in the server's process of this name."""
    for pid in tree(server.process.pid):
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            return "libfaketime" in Path(f"/proc/{pid}/maps").read_text()
    raise AssertionError(f"no process {name}")


@pytest.mark.parametrize(
    ("silence_s", "told"), [(60, r"6\d s"), (600, "10 min"), (24 * 3600, "24 h 0 min")]
)
def test_a_terminal_after_a_long_silence(tmp_path: Path, silence_s: int, told: str) -> None:
    clock = Clock(tmp_path / "clock")
    source = random.Random(SEED)
    with faked(tmp_path, clock) as server, Relay(server.port, delay_ms=10) as relay:
        work, typing = Work(server, tmp_path, relay.through), words(source)
        try:
            assert all(has_the_clock(name, server) for name in ("qshd-front", "qshd-session"))
            work_on(work, source, 0.3, typing)
            relay.cut = True
            work.type("unheard ")
            work.screen.wait_for("no contact for ")  # it has read what had come
            clock.advance(silence_s)
            work.type("silent ")
            notice = re.compile(f"no contact for {told}")
            wait_until(lambda: notice.search(work.screen.text()), f"no contact for {told}")
            relay.cut = False
            work_on(work, source, 0.3, typing)
            work.end()
        finally:
            work.screen.close()


@pytest.mark.parametrize("away_s", [600, 24 * 3600])
def test_a_client_that_sleeps(tmp_path: Path, away_s: int) -> None:
    """Stopped, or its machine suspended: the clock is the server's alone, and what runs there writes all the while."""
    clock = Clock(tmp_path / "clock")
    source = random.Random(SEED)
    with faked(tmp_path, clock, "server") as server, Relay(server.port, delay_ms=10) as relay:
        work, typing = Work(server, tmp_path, relay.through), words(source)
        try:
            assert has_the_clock("qshd-front", server)
            for _ in range(2):
                work_on(work, source, 0.3, typing)
                pid = work.client
                work.type("asleep ")
                os.kill(pid, signal.SIGSTOP)
                clock.advance(away_s)
                work.type("typed meanwhile ")
                os.kill(pid, signal.SIGCONT)
                work_on(work, source, 0.3, typing)
                away_s *= 2
            work.end()
        finally:
            work.screen.close()


@pytest.mark.parametrize("who", ["both", "server", "client"])
def test_a_wall_clock_that_jumps(tmp_path: Path, who: str) -> None:
    """Forward by a year, back by two days: nobody should care."""
    clock = Clock(tmp_path / "clock", wall_only=True)
    source = random.Random(SEED)
    with faked(tmp_path, clock, who) as server, Relay(server.port, delay_ms=10) as relay:
        work, typing = Work(server, tmp_path, relay.through), words(source)
        try:
            for ahead_s in (365 * 86400, -2 * 86400, 0):
                work_on(work, source, 0.2, typing)
                clock.advance(ahead_s)
                work_on(work, source, 0.2, typing)
            work.end()
            assert "no contact" not in "".join(work.screen.lines())
        finally:
            work.screen.close()
