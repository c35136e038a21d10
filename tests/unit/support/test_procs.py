"""Daemons, users and screens for tests: they start, are used, and leave nothing."""

from __future__ import annotations

import os
import pwd
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.netns import Network
from tests.support.procs import Daemon, Files, LoginUser, tree
from tests.support.pty_screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def files() -> Iterator[Files]:
    with LoginUser() as user, Files(user.name) as files:
        yield files


@pytest.mark.root
@pytest.mark.tool("sshd", "ssh", "useradd")
def test_sshd_lets_the_user_in_and_ends(files: Files) -> None:
    with Daemon.sshd(files) as sshd:
        done = subprocess.run(
            files.ssh("127.0.0.1", sshd.port, "id -un"), env=files.env, capture_output=True, text=True, check=True
        )  # fmt: skip
        assert done.stdout.strip() == files.user
    assert sshd.process.returncode is not None


@pytest.mark.root
@pytest.mark.tool("sshd", "ssh", "ip", "nsenter")
def test_sshd_in_a_namespace(files: Files) -> None:
    with Network.veth() as net, Daemon.sshd(files, side=net.server) as sshd:
        for host in (net.server.ip4, net.server.ip6):
            net.client.run(files.ssh(host, sshd.port, "true"), env=files.env, check=True)


@pytest.mark.root
@pytest.mark.tool("sshd")
def test_a_daemon_that_does_not_start_says_why(files: Files) -> None:
    (files.home / "sshd_config").write_text("Nonsense yes\n")
    with pytest.raises(AssertionError, match="Nonsense"):
        Daemon.sshd(files)


@pytest.mark.root
@pytest.mark.tool("useradd")
def test_user_is_removed_with_its_processes() -> None:
    with LoginUser() as user:
        child = subprocess.Popen(["sleep", "60"], user=user.uid, group=user.gid)
    assert child.wait(5) == -9
    with pytest.raises(KeyError):
        pwd.getpwnam(user.name)
    assert not user.home.exists()


def test_tree_finds_grandchildren() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo; wait"], stdout=subprocess.PIPE, start_new_session=True
    ) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        found = tree(shell.pid)
        assert len(found) == 2
        os.killpg(shell.pid, 15)


@pytest.mark.tool("tmux")
def test_screen_shows_what_a_program_paints() -> None:
    with Screen(["sh", "-c", r"printf '\033[5;10Hhere'; read x; exit 3"], columns=40) as screen:
        assert screen.wait_for("here").splitlines()[4] == " " * 9 + "here"
        assert screen.cursor() == (13, 4)
        screen.resize(60, 20)
        assert screen.size() == (60, 20)
        screen.type("x")
        screen.press("Enter")
        assert screen.wait_end() == 3
