"""The files of a user's own qshd."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from qsh.auth import authorized_keys
from qsh.auth.private import generate_ed25519
from qsh.server.instance import KEY_S, MAX_KEYS, InstanceDirectory, Running, began

if TYPE_CHECKING:
    from pathlib import Path

NOW_S = 1_800_000_000.0


@pytest.fixture
def directory(tmp_path: Path) -> InstanceDirectory:
    made = InstanceDirectory(str(tmp_path / "state" / "instance"))
    made.make()
    return made


def test_only_ours(directory: InstanceDirectory) -> None:
    assert os.stat(directory.path).st_mode & 0o777 == 0o700
    os.chmod(directory.path, 0o750)
    with pytest.raises(PermissionError):
        directory.make()


def test_a_process_that_is_gone_is_no_instance(directory: InstanceDirectory) -> None:
    child = subprocess.Popen(["sleep", "60"])
    here = Running(60001, child.pid, began(child.pid), ("ssh-ed25519 AAAA",))
    directory.write(here)
    assert directory.running() == here
    directory.write(here._replace(began=here.began - 1))  # the number is another process's
    assert directory.running() is None
    directory.write(here)
    child.kill()
    assert os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT) is not None
    assert directory.running() is None  # a zombie
    child.wait()
    assert directory.running() is None


@pytest.mark.parametrize("text", ["", "x y z", "60001", "60001 1 2 3"])
def test_what_is_no_record(directory: InstanceDirectory, text: str) -> None:
    with open(os.path.join(directory.path, "instance"), "w") as file:
        file.write(text)
    assert directory.running() is None


def test_a_key_is_good_until_its_end(directory: InstanceDirectory) -> None:
    _, public = generate_ed25519("")
    directory.admit(f"{public.type} {public.base64()}", NOW_S)
    with open(directory.keys) as file:
        text = file.read()
    visitor = authorized_keys.Visitor("me", "192.0.2.1", "192.0.2.1")
    assert authorized_keys.authorize(text, public, visitor, NOW_S + KEY_S - 2).options is not None
    assert authorized_keys.authorize(text, public, visitor, NOW_S + KEY_S + 2).options is None


def test_keys_do_not_pile_up(directory: InstanceDirectory) -> None:
    for number in range(MAX_KEYS + 5):
        directory.admit(f"ssh-ed25519 {number:020}", NOW_S + number)
    with open(directory.keys) as file:
        lines = file.readlines()
    assert len(lines) == MAX_KEYS
    assert f"{MAX_KEYS + 4:020}" in lines[-1]
    directory.admit("ssh-ed25519 late", NOW_S + 2 * KEY_S)
    with open(directory.keys) as file:
        assert len(file.readlines()) == 1


def test_a_damaged_line_of_keys_goes(tmp_path: Path) -> None:
    directory = InstanceDirectory(str(tmp_path))
    with open(directory.keys, "wb") as file:
        file.write(b'expiry-time="20990101000000Z" \xff\xfe\n')
    directory.admit("ssh-ed25519 AAAA", 0)
    with open(directory.keys, "rb") as file:
        assert file.read().count(b"\n") == 1
