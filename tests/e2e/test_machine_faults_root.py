"""A machine in trouble: names that are looked up slowly, a full /run, a full /var/log, session hosts that were stopped.

What fails says so, and nobody else is affected.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.procs import BIN, PROMPT, Daemon, Files, LoginUser, tree
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

LIMIT_S = 30.0
SERVER = "DetachedMax 1h\nLoginGraceTime 20\nMaxStartups 200\n"


@pytest.fixture
def user() -> Iterator[LoginUser]:
    with LoginUser() as user:
        yield user


@pytest.fixture
def other() -> Iterator[LoginUser]:
    with LoginUser() as user:
        yield user


@pytest.fixture
def files(user: LoginUser) -> Iterator[Files]:
    with Files(user.name, server=SERVER) as files:
        yield files


def run(files: Files, daemon: Daemon, *words: str, user: str) -> subprocess.CompletedProcess[str]:
    """A program of this user's, through qsh."""
    argv = files.qsh("127.0.0.1", daemon.port, *words, options=("-l", user))
    return subprocess.run(
        argv, env=files.env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip


def control(
    files: Files, daemon: Daemon, verb: str, *words: str
) -> subprocess.CompletedProcess[str]:
    """qshctl, as the user of the files."""
    return subprocess.run(
        control_argv(files, daemon, verb, *words), env=files.env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip


def control_argv(files: Files, daemon: Daemon, verb: str, *words: str) -> list[str]:
    place = ("-F", f"{files.home}/qsh_config", "-p", str(daemon.port), "127.0.0.1")
    return [str(BIN / "qshctl"), *verb.split(), *place, *words]


def shell(files: Files, daemon: Daemon) -> OnTerminal:
    return OnTerminal(files.qsh("127.0.0.1", daemon.port, options=("-t",)), files.env)


def named(pid: int) -> str:
    """The name of a process that may be gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def logged(daemon: Daemon, *texts: str) -> bool:
    return any(all(text in line for text in texts) for line in list(daemon.log))


def works(terminal: OnTerminal) -> None:
    """It answers what is typed now."""
    terminal.output = b""
    terminal.type(b"echo $((40+2))x\r")
    terminal.expect(b"42x")


# -- names that are looked up slowly ---------------------------------------------------------------

SLOW = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

static void wait_if(int slow) {
    if (!slow) return;
    close(open(FOLDER "/asked", O_CREAT | O_WRONLY, 0666));
    while (access(FOLDER "/answer", F_OK)) usleep(10000);
}
int getpwnam_r(const char *name, struct passwd *pw, char *b, size_t n, struct passwd **r) {
    int (*real)(const char *, struct passwd *, char *, size_t, struct passwd **) = dlsym(RTLD_NEXT, "getpwnam_r");
    wait_if(WHAT == 0 && !strcmp(name, USER));
    return real(name, pw, b, n, r);
}
int getgrouplist(const char *name, gid_t gid, gid_t *groups, int *n) {
    int (*real)(const char *, gid_t, gid_t *, int *) = dlsym(RTLD_NEXT, "getgrouplist");
    wait_if(WHAT == 1 && !strcmp(name, USER));
    return real(name, gid, groups, n);
}
int getgrgid_r(gid_t gid, struct group *g, char *b, size_t n, struct group **r) {
    int (*real)(gid_t, struct group *, char *, size_t, struct group **) = dlsym(RTLD_NEXT, "getgrgid_r");
    wait_if(WHAT == 2 && gid == GID);
    return real(gid, g, b, n, r);
}
"""


class NameService:
    """Functions of the C library's that keep who asks about one user waiting until :meth:`answer`."""

    def __init__(self, folder: Path, user: LoginUser, what: int) -> None:
        self.folder = folder
        source, self.library = folder / "slow.c", folder / "slow.so"
        source.write_text(SLOW)
        words = {"FOLDER": f'"{folder}"', "USER": f'"{user.name}"', "GID": user.gid, "WHAT": what}
        defined = [f"-D{name}={value}" for name, value in words.items()]
        argv = ["cc", "-shared", "-fPIC", *defined, "-o", self.library, source, "-ldl"]
        subprocess.run(argv, check=True)

    @property
    def wrap(self) -> tuple[str, ...]:
        """Words before those of a program that asks here."""
        return ("env", f"LD_PRELOAD={self.library}")

    def was_asked(self) -> bool:
        return (self.folder / "asked").exists()

    def answer(self) -> None:
        (self.folder / "answer").touch()


@pytest.fixture(params=["user", "groups", "group"])
def names(request: pytest.FixtureRequest, other: LoginUser) -> Iterator[NameService]:
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        kinds = ["user", "groups", "group"]
        yield NameService(Path(path), other, kinds.index(request.param))


@contextlib.contextmanager
def waiting(files: Files, daemon: Daemon, user: str) -> Iterator[subprocess.Popen[str]]:
    argv = files.qsh("127.0.0.1", daemon.port, "id", "-un", options=("-l", user))
    process = subprocess.Popen(
        argv, env=files.env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        yield process


def judging(daemon: Daemon) -> list[int]:
    found = []
    for pid in tree(daemon.process.pid):
        with contextlib.suppress(OSError):
            if "login" in Path(f"/proc/{pid}/comm").read_text():
                found.append(pid)
    return found


@pytest.mark.tool("cc")
def test_names_that_are_looked_up_slowly_hold_up_nobody_else(
    files: Files, user: LoginUser, other: LoginUser, names: NameService
) -> None:
    with (
        Daemon.qshd(files, wrap=names.wrap) as daemon,
        waiting(files, daemon, other.name) as slow,
    ):
        wait_until(names.was_asked, "a lookup")
        for _ in range(3):
            assert run(files, daemon, "echo", "in", user=user.name).stdout == "in\n"
        assert slow.poll() is None
        names.answer()
        told, complaint = slow.communicate(timeout=LIMIT_S)
        assert told == f"{other.name}\n", complaint


@pytest.mark.tool("cc")
def test_names_that_are_never_found_end_with_the_time_for_a_login(
    files: Files, user: LoginUser, other: LoginUser, names: NameService
) -> None:
    config = files.home / "qshd_config"
    config.write_text(config.read_text().replace("LoginGraceTime 20", "LoginGraceTime 2"))
    with (
        Daemon.qshd(files, wrap=names.wrap) as daemon,
        waiting(files, daemon, other.name) as slow,
    ):
        wait_until(names.was_asked, "a lookup")
        assert run(files, daemon, "echo", "in", user=user.name).stdout == "in\n"
        told, complaint = slow.communicate(timeout=LIMIT_S)
        assert (slow.returncode, told) == (255, "")
        assert "LoginGraceTime" in complaint
        wait_until(lambda: logged(daemon, "Timeout before authentication for 127.0.0.1"))
        wait_until(lambda: not judging(daemon), "the end of the child that waits")
        assert run(files, daemon, "echo", "in", user=user.name).stdout == "in\n"


# -- a full /run -------------------------------------------------------------------------------------

SMALL_RUN = "mount -t tmpfs -o mode=755,nr_inodes=40 tmpfs /run"
NO_RUN = (
    "mount -t tmpfs -o mode=755,nr_inodes=1 tmpfs /run && "
    "mount --bind /var /var && mount -o remount,ro,bind /var"
)


def mounted(script: str) -> tuple[str, ...]:
    """Words before those of a program that is to see these mounts, which nobody else does."""
    alone = ("unshare", "--mount", "--propagation", "private")
    return (*alone, "sh", "-c", f'{script} && exec "$@"', "sh")


def seen_by(daemon: Daemon, path: str) -> Path:
    return Path(f"/proc/{daemon.process.pid}/root{path}")


def fill(folder: Path) -> list[Path]:
    """Until no more file can be made there."""
    made = []
    for number in itertools.count():
        path = folder / f"full{number}"
        try:
            path.touch()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return made
        made.append(path)
    raise AssertionError


def test_a_full_run(files: Files, user: LoginUser, other: LoginUser) -> None:
    with Daemon.qshd(files, wrap=mounted(SMALL_RUN)) as daemon, shell(files, daemon) as first:
        first.expect(PROMPT.encode())
        made = fill(seen_by(daemon, "/run"))
        assert len(made) > 10
        works(first)
        for each in (user, other):
            assert run(files, daemon, "id", "-un", user=each.name).stdout == f"{each.name}\n"
        with shell(files, daemon) as second:
            second.expect(b"this session cannot be attached from elsewhere")
            works(second)
            where = f"session directory /run/qshd/sessions/{user.uid}: No space left on device"
            wait_until(lambda: logged(daemon, where), "the reason in the log")
            second.type(b"exit 3\r")
            assert second.wait() == 3
        (front,) = (pid for pid in tree(daemon.process.pid) if named(pid) == "qshd-front\n")
        os.kill(front, signal.SIGKILL)
        works(first)
        for path in made:
            path.unlink()
        with shell(files, daemon) as third:
            works(third)
            rows = json.loads(control(files, daemon, "sessions --json").stdout)
            assert [row["name"] for row in rows] == ["1", "2"]


def test_no_place_for_an_empty_root_is_told_at_the_start(files: Files) -> None:
    with pytest.raises(AssertionError, match=r"no empty directory for qshd-sign: none of /run/qsh"):
        Daemon.qshd(files, wrap=mounted(NO_RUN))


# -- login records that cannot be written ---------------------------------------------------------------

FULL_LOG = (
    "mount -t tmpfs -o mode=755,size=4k tmpfs /var/log && touch /var/log/wtmp /var/log/lastlog "
    "&& head -c 4096 /dev/zero > /var/log/full"
)
RECORDS = (
    (FULL_LOG, "No space left on device"),
    (f"{FULL_LOG} && mount -o remount,ro /var/log", "Read-only file system"),
)


@pytest.mark.parametrize(("script", "reason"), RECORDS, ids=["full", "read-only"])
def test_records_that_cannot_be_written_cost_no_login(
    files: Files, script: str, reason: str
) -> None:
    with Daemon.qshd(files, wrap=mounted(script)) as daemon, shell(files, daemon) as terminal:
        works(terminal)
        for name in ("wtmp", "lastlog"):
            wait_until(lambda name=name: logged(daemon, f"/var/log/{name}: ", reason), name)
        terminal.type(b"exit 4\r")
        assert terminal.wait() == 4


# -- session hosts that were stopped --------------------------------------------------------------------


def host_of(user: LoginUser) -> int:
    """The only one."""
    (found,) = (pid for pid in user.pids() if named(pid) == "qshd-session\n")
    return found


def test_a_stopped_session_host_is_told_of_and_affects_nothing_else(
    files: Files, user: LoginUser, other: LoginUser
) -> None:
    with Daemon.qshd(files) as daemon, shell(files, daemon) as terminal:
        works(terminal)
        host = host_of(user)
        os.kill(host, signal.SIGSTOP)
        try:
            terminal.type(b"echo $((50+2))y\r")
            terminal.expect(b"qsh: no answer from the session for")
            for each in (user, other):
                assert run(files, daemon, "id", "-un", user=each.name).stdout == f"{each.name}\n"
            with shell(files, daemon) as second:
                works(second)
                rows = json.loads(control(files, daemon, "sessions --json").stdout)
                assert rows[0] == {"user": user.name, "name": "1", "answers": False}
                assert rows[1]["name"] == "2"
                second.type(b"exit\r")
                assert second.wait() == 0
            assert "no answer" in control(files, daemon, "sessions").stdout
            done = control(files, daemon, "history", "1")
            assert (done.returncode, done.stderr) == (1, "qshd: session 1 does not answer\n")
            with OnTerminal(control_argv(files, daemon, "attach", "1"), files.env) as visitor:
                assert visitor.wait() == 255
                assert b"the session does not answer" in visitor.output
        finally:
            os.kill(host, signal.SIGCONT)
        terminal.expect(b"52y")
        works(terminal)


def test_a_client_leaves_a_stopped_session(files: Files, user: LoginUser) -> None:
    """And finds it again."""
    with Daemon.qshd(files) as daemon:
        with shell(files, daemon) as terminal:
            works(terminal)
            host = host_of(user)
            os.kill(host, signal.SIGSTOP)
            try:
                terminal.type(b"\r~d")
                assert terminal.wait() == 0
            finally:
                os.kill(host, signal.SIGCONT)
        with OnTerminal(control_argv(files, daemon, "attach", "1"), files.env) as again:
            works(again)
