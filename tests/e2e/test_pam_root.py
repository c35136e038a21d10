"""Passwords and PAM: a real libpam, services of the test's own, users of this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.users import User, temporary_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root

LIMIT_S = 20.0
PASSWORD = "correct horse 7"
UNIX = """\
auth required pam_unix.so nodelay
account required pam_unix.so
session required pam_permit.so
password required pam_unix.so
"""


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that processes outside bring about."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def crypted(password: str) -> str:
    made = ["openssl", "passwd", "-6", password]
    return subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()


class PamServer(LiveServer):
    """With a PAM service of its own."""

    def __init__(self, home: Path, rules: str, extra: str = "") -> None:
        self.service = f"qsht{secrets.token_hex(4)}"
        self.file = Path("/etc/pam.d", self.service)
        self.file.write_text(rules)
        named = f"UsePAM yes\nPAMServiceName {self.service}\nLogLevel VERBOSE\n"
        super().__init__(home, named + extra)

    def stop(self) -> None:
        super().stop()
        self.file.unlink()

    def login(
        self,
        user: User | str,
        *words: str,
        answers: tuple[str, ...] = (PASSWORD,),
        options: tuple[str, ...] = (),
        methods: str = "password",
    ) -> subprocess.CompletedProcess[bytes]:
        """With an askpass that gives these answers, one after the other, and writes down what it was asked."""
        self.user = user if isinstance(user, str) else user.name
        asked = self.home / "asked"
        asked.write_text("")
        (self.home / "answers").write_text("".join(f"{answer}\n" for answer in answers))
        program = self.home / "askpass"
        program.write_text(
            f"#!/bin/sh\nprintf '%s\\n' \"$1\" >> {asked}\n"
            f"n=$(wc -l < {asked})\nsed -n \"${{n}}p\" {self.home}/answers\n"
        )
        program.chmod(0o755)
        return self.run(
            *words,
            options=("-o", f"PreferredAuthentications={methods}", *options),
            env={"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"},
            limit_s=LIMIT_S,
        )

    @property
    def asked(self) -> list[str]:
        return (self.home / "asked").read_text().splitlines()

    def logged(self, text: str) -> bool:
        return any(text in line for line in self.log)


@contextlib.contextmanager
def serving(home: Path, rules: str = UNIX, extra: str = "") -> Iterator[PamServer]:
    server = PamServer(home, rules, extra)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def anna() -> Iterator[User]:
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        with temporary_user(Path(path), password=crypted(PASSWORD)) as user:
            yield user


@pytest.fixture(scope="module")
def unix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PamServer]:
    with serving(tmp_path_factory.mktemp("qshd")) as server:
        yield server


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_password_lets_in(unix: PamServer, anna: User, method: str) -> None:
    done = unix.login(anna, "id -un", methods=method)
    assert (done.stdout.decode().strip(), done.returncode) == (anna.name, 0), done.stderr
    question = {
        "password": f"{anna.name}@127.0.0.1's password: ",
        "keyboard-interactive": f"({anna.name}@127.0.0.1) Password: ",
    }
    assert unix.asked == [question[method]]
    name = {"password": "password", "keyboard-interactive": "keyboard-interactive/pam"}[method]
    until(lambda: unix.logged(f"Accepted {name} for {anna.name} from 127.0.0.1"))
    assert not unix.logged(PASSWORD)


def test_a_wrong_password_is_asked_for_again(unix: PamServer, anna: User) -> None:
    done = unix.login(anna, "id -un", answers=("wrong", PASSWORD))
    assert done.stdout.decode().strip() == anna.name
    assert done.stderr.decode().splitlines() == ["Permission denied, please try again."]
    assert len(unix.asked) == 2


def test_number_of_password_prompts(unix: PamServer, anna: User) -> None:
    done = unix.login(
        anna, "true", answers=("a", "b", "c", "d"), options=("-o", "NumberOfPasswordPrompts=2")
    )
    assert done.returncode == 255
    assert len(unix.asked) == 2
    refused = f"{anna.name}@127.0.0.1: Permission denied (publickey,password,keyboard-interactive)."
    assert done.stderr.decode().splitlines() == ["Permission denied, please try again.", refused]


def test_words_are_the_same_for_nobody(unix: PamServer, anna: User) -> None:
    texts = []
    for user in (anna.name, "nobodyatall"):
        done = unix.login(user, "true", answers=("x",) * 3)
        assert done.returncode == 255
        texts.append((done.stderr.decode().replace(user, "U"), len(unix.asked)))
    assert texts[0] == texts[1]
    until(lambda: unix.logged("Failed password for invalid user nobodyatall from 127.0.0.1"))


def test_batch_mode_asks_nobody(unix: PamServer, anna: User) -> None:
    done = unix.login(anna, "true", options=("-o", "BatchMode=yes"), methods="password")
    assert done.returncode == 255
    assert unix.asked == []
