"""``-A`` with a server that has other users: whose the socket is, and logins from there with OpenSSH and git."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.agent import SshAgent
from tests.support.procs import Daemon, Files, LoginUser

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow]

SSH = (
    "ssh -oBatchMode=yes -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=error"
)


class Stage:
    """A user, both servers, and an agent with the key that the user's logins take."""

    def __init__(self, user: LoginUser, files: Files, agent: SshAgent) -> None:
        self.user, self.files, self.agent = user, files, agent
        shutil.copy(agent.key.with_suffix(".key.pub"), files.home / "authorized_keys")
        self.qshd, self.sshd = Daemon.qshd(files), Daemon.sshd(files)

    def run(self, command: str) -> subprocess.CompletedProcess[bytes]:
        options = ("-A", "-oIdentityAgent=SSH_AUTH_SOCK", f"-oIdentityFile={self.agent.key}.pub")
        argv = self.files.qsh("127.0.0.1", self.qshd.port, command, options=options)
        env = {**self.files.env, **self.agent.env}
        return subprocess.run(argv, env=env, capture_output=True, check=False, timeout=40)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with LoginUser() as user, Files(user.name) as files:
        with SshAgent(tmp_path_factory.mktemp("agent")) as agent:
            stage = Stage(user, files, agent)
            with stage.qshd, stage.sshd:
                yield stage


def test_ssh_from_there(stage: Stage) -> None:
    done = stage.run(f"{SSH} -p {stage.sshd.port} 127.0.0.1 'id -un'")
    assert (done.stdout.decode().strip(), done.stderr) == (stage.user.name, b"")


def test_git_from_there(stage: Stage) -> None:
    command = (
        "git init -q repo && cd repo && git -c user.name=x -c user.email=x@y commit -q --allow-empty -m x"
        f" && GIT_SSH_COMMAND='{SSH}' git fetch ssh://127.0.0.1:{stage.sshd.port}$HOME/repo HEAD"
    )
    done = stage.run(command)
    assert done.returncode == 0, done.stderr
    assert b"FETCH_HEAD" in done.stderr


def test_nobody_else_reaches_it(stage: Stage) -> None:
    """Not even at its path: the directory is the user's."""
    command = "stat -c %U:%a ${SSH_AUTH_SOCK%/*} $SSH_AUTH_SOCK; echo $SSH_AUTH_SOCK"
    *owners, path = stage.run(command).stdout.decode().split()
    assert owners == [f"{stage.user.name}:700", f"{stage.user.name}:600"]
    assert path.startswith(f"/run/qshd/sessions/{stage.user.uid}/agent.")
    with LoginUser() as other:
        pid = os.fork()
        if pid == 0:
            os.setgroups([])
            os.setgid(other.gid)
            os.setuid(other.uid)
            try:
                socket.socket(socket.AF_UNIX).connect(path)
            except PermissionError:
                os._exit(42)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
