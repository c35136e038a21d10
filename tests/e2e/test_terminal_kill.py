"""Clients, fronts, connections and daemons that die at random moments: no byte of input is lost or doubled, no output missing."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import counter
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.procs import tree
from tests.support.pty_screen import Screen
from tests.support.relay import Relay
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.tool("tmux"), pytest.mark.slow]

LIMIT_S = 30.0
EXTRA = f"DetachedMax 1h\n{PLAIN_SHELL}"
SEED = 20
OLD_S = 1.2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), extra=EXTRA)
    yield server
    server.stop()


@pytest.fixture
def relay(server: LiveServer) -> Iterator[Relay]:
    with Relay(server.port, delay_ms=10) as found:
        yield found


def process_of(root: int, *words: bytes) -> int:
    """The first of a family whose command line begins so behind the interpreter."""
    for pid in tree(root):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if tuple(line[1 : 1 + len(words)]) == words:
            return pid
    raise AssertionError(f"no process {words}")


def front_of(server: LiveServer) -> int | None:
    """None: another one is about to be started."""
    for pid in tree(server.process.pid):
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == "qshd-front":
                return pid
        except OSError:
            continue
    return None


class Work:
    """A counter behind qsh on a terminal emulator, and what was typed to it."""

    def __init__(
        self,
        server: LiveServer,
        folder: Path,
        through: Callable[[list[str]], list[str]],
        pause_s: float = 0.004,
    ):
        """``pause_s``: between the program's lines."""
        self.folder, self.server, self.through = folder, server, through
        self.typed = b""
        command = f"{self.program()} {folder} {pause_s}"
        self._show(server.command(command, options=("-t", "-o", "QshSkip=exact")))
        try:
            self.screen.wait_for("said ")
        except BaseException:
            self.screen.close()
            raise

    def program(self) -> str:
        """The words of the counter."""
        return f"{sys.executable} -S {counter.__file__}"

    def _show(self, argv: list[str]) -> None:
        env = {**self.server.env, "LC_ALL": "C.UTF-8"}
        self.screen = Screen(self.through(argv), env=env)

    def attach(self, name: str) -> None:
        """Another client instead of one that is dead."""
        self.screen.close()
        argv = [
            sys.executable,
            "-m",
            "qsh.cli.control",
            "attach",
            "-F",
            f"{self.server.home}/config",
        ]
        argv += ["-p", str(self.server.port), "-o", "QshSkip=exact", self.server.target, name]
        self._show(argv)

    @property
    def client(self) -> int:
        """The client's process."""
        root = self.screen.pid()
        try:
            return process_of(root, b"-m", b"qsh.cli.client")
        except AssertionError:
            return process_of(root, b"-m", b"qsh.cli.control")

    def type(self, text: str) -> None:
        self.screen.type(text)
        self.typed += text.encode()

    @property
    def heard(self) -> bytes:
        return (self.folder / "heard").read_bytes()

    def end(self) -> None:
        """Ctrl-D; the status, all input and all output must be right."""
        self.type("\x04")
        assert self.screen.wait_end(LIMIT_S) == counter.STATUS
        assert self.heard == self.typed
        said = (self.folder / "said").read_text().splitlines()
        assert said[-1] == "the end"
        assert self.lines() == said

    def lines(self) -> list[str]:
        """What the user's terminal has of the program's lines, from the first to the last."""
        lines = [line.rstrip() for line in self.screen.lines()]
        return [line for line in lines if LINE.fullmatch(line)]


LINE = re.compile(r"counting|said \d{6}|heard \S+|the end")
"""What the program says in a line."""


def words(source: random.Random) -> Iterator[str]:
    number = 0
    while True:
        yield f"w{number}-{'x' * source.randrange(12)} "
        number += 1


def work_on(work: Work, source: random.Random, seconds: float, typing: Iterator[str]) -> None:
    """Type for a while, without looking."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        work.type(next(typing))
        time.sleep(source.uniform(0, 0.05))


def kill_front(work: Work, _relay: Relay, _source: random.Random) -> None:
    wait_until(lambda: front_of(work.server), "a front")
    pid = front_of(work.server)
    assert pid is not None
    while age_s(pid) < OLD_S:  # one that ends younger is not replaced
        work.type("young ")
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: front_of(work.server) not in (None, pid), "another front")


def age_s(pid: int) -> float:
    """Since the process was started."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def stop_front(work: Work, _relay: Relay, source: random.Random) -> None:
    wait_until(lambda: front_of(work.server), "a front")
    pid = front_of(work.server)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    time.sleep(source.uniform(0.1, 1.5))
    os.kill(pid, signal.SIGCONT)


def cut(_work: Work, relay: Relay, source: random.Random) -> None:
    relay.cut = True
    time.sleep(source.uniform(0.1, 2))
    relay.cut = False


def stop_client(work: Work, _relay: Relay, source: random.Random) -> None:
    pid = work.client
    os.kill(pid, signal.SIGSTOP)
    work.type("asleep ")
    time.sleep(source.uniform(0.1, 3))
    os.kill(pid, signal.SIGCONT)


def restart_daemon(work: Work, _relay: Relay, _source: random.Random) -> None:
    server = work.server
    server.process.terminate()
    server.process.wait()
    server.forget()
    work.type("nobody-there ")
    server.start()


EVENTS = {
    "front killed": (kill_front, 3),
    "front stopped": (stop_front, 3),
    "connection cut": (cut, 3),
    "client stopped": (stop_client, 2),
}


@pytest.mark.parametrize("event", EVENTS)
def test_nothing_is_lost_or_doubled(
    server: LiveServer, relay: Relay, tmp_path: Path, event: str
) -> None:
    source = random.Random(f"{SEED} {event}")
    happens, rounds = EVENTS[event]
    work, typing = Work(server, tmp_path, relay.through), words(source)
    try:
        for _ in range(rounds):
            work_on(work, source, source.uniform(0.05, 0.5), typing)
            happens(work, relay, source)
            work_on(work, source, source.uniform(0.05, 0.5), typing)
        work.end()
    finally:
        work.screen.close()


def test_a_client_that_slept_three_seconds_goes_on(server: LiveServer, tmp_path: Path) -> None:
    work = Work(server, tmp_path, list)
    try:
        pid = work.client
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(pid, signal.SIGCONT)
        work.type("back ")
        wait_until(lambda: "heard back" in work.lines(), "what was typed after the sleep")
        work.end()
    finally:
        work.screen.close()


def test_the_daemon_is_started_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), extra=EXTRA)
    groups = [server.process.pid]
    try:
        source = random.Random(SEED)
        work, typing = Work(server, tmp_path, list), words(source)
        try:
            for _ in range(2):
                work_on(work, source, 0.3, typing)
                restart_daemon(work, None, source)  # type: ignore[arg-type]
                groups.append(server.process.pid)
                work_on(work, source, 0.3, typing)
            work.end()
        finally:
            work.screen.close()
    finally:
        for group in groups[:-1]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        server.stop()


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_client_and_another_one(server: LiveServer, tmp_path: Path, seed: int) -> None:
    """What the dead client had not sent is gone with it; what came is a beginning of what was typed, and comes once."""
    source = random.Random(seed)
    work, typing = Work(server, tmp_path, list), words(source)
    try:
        (name,) = session_names(server)
        work_on(work, source, source.uniform(0.05, 0.6), typing)
        os.kill(work.client, signal.SIGKILL)
        assert work.screen.wait_end(LIMIT_S) != 0
        heard = work.heard
        assert work.typed.startswith(heard)
        work.attach(name)
        work.screen.wait_for("said ")
        heard = work.heard
        assert work.typed.startswith(heard)
        work.typed = heard
        work.type("/again ")  # behind the beginning of a word, perhaps
        work.screen.wait_for("/again")
        work_on(work, source, 0.2, typing)
        shown = history(server, name)
        work.type("\x04")
        assert work.screen.wait_end(LIMIT_S) == counter.STATUS
        assert work.heard == work.typed
        said = (work.folder / "said").read_text().splitlines()
        assert shown == said[: len(shown)]
        assert len(shown) > 50
        lines = work.lines()
        assert lines == said[-len(lines) :], "from the attaching on nothing is missing"
    finally:
        work.screen.close()
        for name in session_names(server):
            control(server, "kill", name)


def control(server: LiveServer, verb: str, *words: str) -> str:
    options = ("-F", f"{server.home}/config", "-p", str(server.port))
    done = subprocess.run(
        [sys.executable, "-m", "qsh.cli.control", *verb.split(), *options, server.target, *words],
        capture_output=True,
        text=True,
        check=True,
        env=server.env,
        timeout=LIMIT_S,
    )
    return done.stdout


def session_names(server: LiveServer) -> list[str]:
    """Sessions that have not ended."""
    return [line.split()[0] for line in control(server, "sessions").splitlines()[1:]]


def history(server: LiveServer, name: str) -> list[str]:
    """Lines of the program that the host has kept."""
    return [line for line in control(server, "history", name).splitlines() if LINE.fullmatch(line)]
