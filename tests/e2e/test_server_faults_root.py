"""Processes of qshd that are killed (-9), one after the other at random moments: sessions live, and nothing is lost or doubled.

For minutes, or once more with the same chances:

    QSH_KILLS_S=600 QSH_FAULTS_SEED=1234 python -m pytest tests/e2e/test_server_faults_root.py
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from qsh.clock import monotonic_s
from tests.e2e.test_terminal_kill import Work, words
from tests.support import counter
from tests.support.live_server import PLAIN_SHELL
from tests.support.procs import Files, LoginUser
from tests.support.respawned import Respawned
from tests.support.service_manager import ServiceManager
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.root,
    pytest.mark.tool("tmux"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

SECONDS = float(os.environ.get("QSH_KILLS_S", "25" if os.environ.get("CI") else "10"))
SEED = int(os.environ.get("QSH_FAULTS_SEED", "0")) or random.randrange(1, 1 << 31)
SESSIONS = 3
SERVER = f"DetachedMax 1h\nMaxStartups 200\nPerSourceMaxStartups none\n{PLAIN_SHELL}\n"
BACK_S = 30.0
"""A generous limit; how long it takes is bench/scale.py's affair."""
SILENT_S = 10.0
BLOB_BYTES = 3_000_000
SYSTEM_PYTHON = "/usr/bin/python3"


class Typing(Work):
    """One user's terminal, its program run by the system's Python."""

    def __init__(self, server: Respawned, folder: Path, program: Path) -> None:
        self._path = program
        super().__init__(server, folder, list, pause_s=0.05)  # type: ignore[arg-type]

    def program(self) -> str:
        return f"{SYSTEM_PYTHON} -S {self._path}"


class Transfers:
    """Data that goes there and back, again and again. A transfer that says that it succeeded has brought every byte.

    One that has sent everything and only listens hears of a killed front with its next keep-alive: it is given up, and counted.
    """

    def __init__(self, server: Respawned, data: bytes) -> None:
        self._argv, self._env, self._data = server.command("cat"), server.env, data
        self._end = threading.Event()
        self.wrong: list[str] = []
        self.whole = self.cut = self.silent = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                done = subprocess.run(
                    self._argv,
                    env=self._env,
                    capture_output=True,
                    input=self._data,
                    timeout=SILENT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                self.silent += 1
                continue
            if done.returncode != 0:
                self.cut += 1
            elif done.stdout == self._data:
                self.whole += 1
            else:
                self.wrong.append(f"{len(done.stdout)} bytes and status 0")

    def end(self) -> None:
        self._end.set()
        self._thread.join()


@pytest.fixture
def user() -> Iterator[LoginUser]:
    with LoginUser() as user:
        yield user


@pytest.fixture
def files(user: LoginUser) -> Iterator[Files]:
    with Files(user.name, server=SERVER) as files:
        yield files


@pytest.fixture(params=["systemd", "plain"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceManager | None]:
    """Somebody who keeps the sockets; or a port that must be free before the next qshd gets it."""
    with contextlib.ExitStack() as stack:
        found = ServiceManager(tmp_path) if request.param == "systemd" else None
        if found is not None:
            stack.callback(found.close)
        yield found


@pytest.fixture
def server(files: Files, manager: ServiceManager | None) -> Iterator[Respawned]:
    server = Respawned(files, manager)
    yield server
    server.stop()


def folder_of(user: LoginUser, name: str) -> Path:
    folder = user.home / name
    folder.mkdir()
    os.chown(folder, user.uid, user.gid)
    return folder


def kill_one(server: Respawned, source: random.Random, killed: Counter[str]) -> None:
    """A process of one of the roles that there are now."""
    wait_until(server.roles, "a qshd that is there, if only starting")
    roles = server.roles() or {"main": [server.process.pid]}
    role = source.choice(sorted(roles))
    pid = source.choice(roles[role])
    print(f"{role} {pid}")
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, signal.SIGKILL)
        killed[role] += 1


def type_all(works: list[Typing], typing: Iterator[str], source: random.Random, s: float) -> None:
    """For ``s`` seconds, without looking."""
    end_s = monotonic_s() + s
    while monotonic_s() < end_s:
        source.choice(works).type(next(typing))


def all_back(works: list[Typing], word: str) -> float:
    """How long it takes until every terminal answers what is typed now."""
    began_s = monotonic_s()
    for work in works:
        work.type(f"{word} ")
    for work in works:
        wait_until(
            lambda work=work: f"heard {word}" in work.lines(), f"{word} in every terminal", BACK_S
        )
    return monotonic_s() - began_s


def test_nothing_is_lost_or_doubled(
    server: Respawned,
    user: LoginUser,
) -> None:
    print(f"QSH_FAULTS_SEED={SEED}")  # pytest shows it beside a failure
    source = random.Random(SEED)
    program = user.home / "counter.py"
    shutil.copy(counter.__file__, program)
    killed: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        works = []
        for number in range(SESSIONS):
            works.append(Typing(server, folder_of(user, f"work{number}"), program))
            stack.callback(works[-1].screen.close)
        hosts = set(user.pids())
        transfers = Transfers(server, source.randbytes(BLOB_BYTES))
        stack.callback(transfers.end)
        typing, times = words(source), []
        end_s = monotonic_s() + SECONDS
        while monotonic_s() < end_s:
            for _ in range(source.randrange(1, 4)):
                type_all(works, typing, source, source.uniform(0.05, 0.8))
                kill_one(server, source, killed)
            times.append(all_back(works, f"back-{len(times)}"))
            assert hosts <= set(user.pids()), "sessions and their programs are the same as before"
        before = transfers.whole
        wait_until(lambda: transfers.whole > before + 1, "a transfer in calm times", BACK_S)
        transfers.end()
        assert server.pid_file.read_text() == f"{server.process.pid}\n", "not one of those killed"
        for work in works:
            work.end()
    print(dict(killed), f"back within {max(times):.2f} s, {server.starts} starts")
    print(
        f"transfers: {transfers.whole} whole, {transfers.cut} cut off, {transfers.silent} given up"
    )
    assert transfers.wrong == []
    assert sum(killed.values()) > SECONDS / 5
    assert len(killed) > 1, "of more than one role"
