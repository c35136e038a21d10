"""``qshctl demo``: a shell, a command, and nothing left behind whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.terminal import OnTerminal, wait_until
from tests.support.users import temporary_user

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = (sys.executable, "-m", "qsh.cli.control", "demo")
AMBIENT = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
"""Only so that Python's own files can be read."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the demo's files go; afterwards they must be gone, and all processes that knew them."""
    place = tmp_path / "tmp"
    place.mkdir()
    place.chmod(0o1777)
    for parent in (place, *place.parents[:3]):
        if parent.owner() == Path.home().owner() and parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | 0o011)
    yield place
    wait_until(lambda: not list(place.iterdir()), f"files left: {list(place.iterdir())}")
    wait_until(lambda: not processes(place), f"processes left: {processes(place)}")


def processes(place: Path) -> list[str]:
    """Command lines that name the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if f"{place}/" in line:
                found.append(line)
    return found


def environment(place: Path) -> dict[str, str]:
    state = place.parent / "state"
    return {**os.environ, "TMPDIR": str(place), "XDG_STATE_HOME": str(state), "SHELL": "/bin/sh"}


def as_user(name: str) -> tuple[str, ...]:
    return ("setpriv", "--reuid", name, "--regid", name, "--clear-groups")


def demo(
    place: Path, *command: str, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*prefix, *DEMO, *command],
        env=environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )


def test_a_command(place: Path) -> None:
    done = demo(place, "echo", "hello")
    assert (done.stdout, done.stderr, done.returncode) == (b"hello\n", b"", 0)
    assert not (place.parent / "state").exists()


def test_its_status(place: Path) -> None:
    assert demo(place, "exit 7").returncode == 7


@pytest.mark.root
def test_as_an_ordinary_user(place: Path) -> None:
    with temporary_user(place.parent) as user:
        done = demo(place, "id -un", prefix=(*as_user(user.name), *AMBIENT))
    assert (done.stdout, done.returncode) == (f"{user.name}\n".encode(), 0), done.stderr


def test_a_shell_without_a_terminal(place: Path) -> None:
    done = subprocess.run(
        DEMO,
        env=environment(place),
        input=b"echo $((6 * 7))\n",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert b"42\n" in done.stdout
    assert done.returncode == 0


def test_a_shell_on_a_terminal(place: Path) -> None:
    with OnTerminal(DEMO, environment(place)) as terminal:
        terminal.expect(b"escapes)")
        terminal.type(b"echo $((6 * 7)); tty\r")
        terminal.expect(b"42\r\n")
        terminal.type(b"exit 3\r")
        assert terminal.wait() == 3


def test_control_c_goes_to_the_program(place: Path) -> None:
    with OnTerminal(DEMO, environment(place)) as terminal:
        terminal.expect(b"escapes)")
        terminal.type(b"trap 'echo caught' INT; echo rea''dy\r")
        terminal.expect(b"ready\r\n")
        # Until the shell reads keys it puts the trap off until the next one.
        terminal.type_until(b"\x03", b"caught")
        terminal.type(b"exit 0\r")
        assert terminal.wait() == 0


def test_control_c_ends_a_command(place: Path) -> None:
    with OnTerminal((*DEMO, "echo up; exec sleep 60"), environment(place)) as terminal:
        terminal.expect(b"up")
        terminal.type(b"\x03")
        assert terminal.wait() != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_killed(place: Path, number: signal.Signals) -> None:
    running = subprocess.Popen(
        [*DEMO, "echo up; exec sleep 60"],
        env=environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    running.send_signal(number)
    assert running.wait(20) == (-number if number == signal.SIGKILL else 128 + number)
    running.stdout.close()


def test_killed_while_it_starts(place: Path) -> None:
    running = subprocess.Popen(
        [*DEMO, "true"], env=environment(place), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: list(place.glob("*/qsh_config")), "files")
    running.kill()
    running.wait(20)
