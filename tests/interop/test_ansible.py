"""Ansible with qsh, qscp and qsftp as its ssh, scp and sftp: its modules, and the exact words that it passes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import INTEROP
from tests.support.drop_in import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.drop_in import DropIn

pytestmark = [pytest.mark.tool("ansible", "scp", "sftp"), pytest.mark.slow]


def _ansible(drop_in: DropIn, *words: str, **env: str) -> str:
    settings = {
        "ANSIBLE_SSH_EXECUTABLE": "qsh",
        "ANSIBLE_SCP_EXECUTABLE": "qscp",
        "ANSIBLE_SFTP_EXECUTABLE": "qsftp",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_SSH_RETRIES": "0",
    }
    command = (INTEROP / "ansible", "all", "-i", f"{HOST},", *words)
    return drop_in.run(*command, env={**settings, **env}).stdout.decode()


def test_ping(drop_in: DropIn) -> None:
    """With the options that Ansible has by default: ControlMaster, ControlPersist and a ControlPath in quotes."""
    assert '"ping": "pong"' in _ansible(drop_in, "-m", "ping")
    assert ["-C", "-o", "ControlMaster=auto", "-o", "ControlPersist=60s"] in [
        call[:5] for call in drop_in.calls
    ]
    assert any('ControlPath="' in word for call in drop_in.calls for word in call)


def test_one_login_for_all_tasks(drop_in: DropIn, tmp_path: Path) -> None:
    """ControlPersist as Ansible sets it: several calls of qsh for each task, of qsftp too, one login for all of them."""
    before, there = _logins(drop_in), tmp_path / "there"
    (tmp_path / "source").write_text("text")
    env = {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(tmp_path / "cp")}
    try:
        _ansible(drop_in, "-m", "copy", "-a", f"src={tmp_path}/source dest={there}", **env)
        _ansible(drop_in, "-m", "command", "-a", f"cat {there}", **env)
        assert len(drop_in.calls) > 5
        assert _logins(drop_in) - before == 1
    finally:
        (found,) = (tmp_path / "cp").glob("*.qsh")
        path = str(found).removesuffix(".qsh")
        drop_in.run("qsh", "-S", path, "-O", "exit", HOST)


def _logins(drop_in: DropIn) -> int:
    return sum("Accepted publickey" in line for line in drop_in.server.log)


def test_all_that_can_be_configured(drop_in: DropIn) -> None:
    extra = (
        f"ansible_user={drop_in.server.user} ansible_port={drop_in.server.port} "
        f"ansible_ssh_private_key_file={drop_in.home}/id ansible_host_key_checking=false "
        "ansible_ssh_verbosity=3 ansible_ssh_extra_args='-4 -o ServerAliveInterval=30'"
    )
    assert '"ping": "pong"' in _ansible(drop_in, "-m", "ping", "-e", extra, "-T", "10")
    call = drop_in.calls[0]
    user = f'User="{drop_in.server.user}"'
    identity = f'IdentityFile="{drop_in.home}/id"'
    for words in (identity, user, "ConnectTimeout=10", "StrictHostKeyChecking=no"):
        assert words in call
    assert "-vvv" in call


@pytest.mark.parametrize("method", ["sftp", "scp", "piped"])
def test_copy(drop_in: DropIn, tmp_path: Path, method: str) -> None:
    source, there = tmp_path / "source", tmp_path / "there"
    source.write_bytes(bytes(range(256)) * 1000)
    words = ("-m", "copy", "-a", f"src={source} dest={there} mode=0600")
    _ansible(drop_in, *words, ANSIBLE_SSH_TRANSFER_METHOD=method)
    assert there.read_bytes() == source.read_bytes()
    assert any("sftp" in call for call in drop_in.calls) == (method != "piped")


def test_fetch(drop_in: DropIn, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("text")
    words = ("-m", "fetch", "-a", f"src={tmp_path}/there dest={tmp_path}/back flat=yes")
    _ansible(drop_in, *words)
    assert (tmp_path / "back").read_text() == "text"


@pytest.mark.root
@pytest.mark.tool("sudo")
@pytest.mark.parametrize("pipelining", ["0", "1"])
def test_become(drop_in: DropIn, pipelining: str) -> None:
    """Without pipelining Ansible asks for a terminal (-tt) where it becomes somebody else."""
    words = ("-b", "-m", "command", "-a", "id -un")
    assert "root" in _ansible(drop_in, *words, ANSIBLE_PIPELINING=pipelining)
    assert any("-tt" in call for call in drop_in.calls) == (pipelining == "0")


def test_no_way_to_log_in(drop_in: DropIn) -> None:
    """255 is what Ansible takes for unreachable."""
    command = (INTEROP / "ansible", "all", "-i", f"{HOST},", "-m", "ping")
    env = {"ANSIBLE_SSH_EXECUTABLE": "qsh", "ANSIBLE_SSH_ARGS": "-o PubkeyAuthentication=no"}
    done = drop_in.run(*command, env=env, status=4)
    assert b"UNREACHABLE" in done.stdout + done.stderr
    assert b"Permission denied" in done.stdout + done.stderr
