"""git of this machine with qsh in ssh's place: all three ways to say so, URLs with a port, the probe by ``-G``."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.drop_in import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.drop_in import DropIn

pytestmark = pytest.mark.tool("git")

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


@pytest.fixture
def bare(drop_in: DropIn, tmp_path: Path) -> Path:
    """A repository with one commit of a few hundred kilobytes."""
    work, bare = tmp_path / "work", tmp_path / "bare.git"
    drop_in.run("git", "init", "-q", "-b", "main", work)
    (work / "file").write_bytes(os.urandom(300_000))
    drop_in.run("git", "-C", work, "add", "file")
    drop_in.run("git", "-C", work, *IDENTITY, "commit", "-q", "-m", "first")
    drop_in.run("git", "clone", "-q", "--bare", work, bare)
    return bare


def _head(drop_in: DropIn, folder: Path) -> bytes:
    return drop_in.run("git", "-C", folder, "rev-parse", "main").stdout


@pytest.mark.parametrize("way", ["GIT_SSH_COMMAND", "GIT_SSH", "core.sshCommand"])
def test_clone_and_push(drop_in: DropIn, bare: Path, tmp_path: Path, way: str) -> None:
    env = {"GIT_SSH_COMMAND": "qsh", "GIT_SSH": f"{drop_in.folder}/qsh"}
    env = {way: env[way]} if way in env else {}
    option = () if env else ("-c", "core.sshCommand=qsh")
    clone = tmp_path / "clone"
    drop_in.run("git", *option, "clone", "-q", f"{HOST}:{bare}", clone, env=env)
    assert _head(drop_in, clone) == _head(drop_in, bare)
    (clone / "more").write_bytes(os.urandom(2_000_000))
    drop_in.run("git", "-C", clone, "add", "more")
    drop_in.run("git", "-C", clone, *IDENTITY, "commit", "-q", "-m", "second")
    drop_in.run("git", *option, "-C", clone, "push", "-q", env=env)
    assert _head(drop_in, clone) == _head(drop_in, bare)
    drop_in.run("git", "-C", bare, "fsck", "--strict")


def test_a_url_with_a_port(drop_in: DropIn, bare: Path, tmp_path: Path) -> None:
    """Only what the probe finds to be ``ssh`` gets ports and -4: otherwise git refuses the URL."""
    port, user = str(drop_in.server.port), drop_in.server.user
    url = f"ssh://{user}@127.0.0.1:{port}{bare}"
    env = {"GIT_SSH_COMMAND": "qsh"}
    drop_in.run("git", "clone", "-q", "-4", url, tmp_path / "clone", env=env)
    assert _head(drop_in, tmp_path / "clone") == _head(drop_in, bare)
    probe, real = drop_in.calls
    common = ["-o", "SendEnv=GIT_PROTOCOL", "-4", "-p", port, f"{user}@127.0.0.1"]
    assert probe == ["-G", *common]
    assert real == [*common, f"git-upload-pack '{bare}'"]


def test_protocol_version_2_is_agreed(drop_in: DropIn, bare: Path) -> None:
    env = {"GIT_SSH_COMMAND": "qsh", "GIT_TRACE_PACKET": "1"}
    done = drop_in.run("git", "-c", "protocol.version=2", "ls-remote", f"{HOST}:{bare}", env=env)
    assert b"< version 2" in done.stderr


def test_archive(drop_in: DropIn, bare: Path) -> None:
    done = drop_in.run(
        "git", "archive", f"--remote={HOST}:{bare}", "main", env={"GIT_SSH_COMMAND": "qsh"}
    )
    assert b"ustar" in done.stdout


def test_a_repository_that_is_not_there(drop_in: DropIn, tmp_path: Path) -> None:
    words = ("git", "clone", "-q", f"{HOST}:/no/such.git", tmp_path / "clone")
    done = drop_in.run(*words, status=128, env={"GIT_SSH_COMMAND": "qsh"})
    assert b"does not appear to be a git repository" in done.stderr


@pytest.fixture
def probe(drop_in: DropIn) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """qsh as git probes it: all standard descriptors on /dev/null."""

    def run(*words: str, wrap: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*wrap, "qsh", "-G", "-o", "SendEnv=GIT_PROTOCOL", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**drop_in.env, "GIT_PROTOCOL": "version=2"},
            timeout=20,
            check=False,
            start_new_session=True,
        )

    return run


@pytest.mark.parametrize("words", [(), ("-4",), ("-6", "-p", "2222"), ("-p", "7")])
def test_the_probe(
    probe: Callable[..., subprocess.CompletedProcess[bytes]], words: tuple[str, ...]
) -> None:
    assert probe(*words, "git@host.example.org").returncode == 0


@pytest.mark.root
@pytest.mark.tool("unshare")
def test_the_probe_works_without_a_network(
    probe: Callable[..., subprocess.CompletedProcess[bytes]],
) -> None:
    assert probe("git@host.example.org", wrap=("unshare", "-n")).returncode == 0


def test_one_login(drop_in: DropIn, bare: Path, tmp_path: Path) -> None:
    """Over a shared connection: a login for the first, and for none of the others."""
    before = _logins(drop_in)
    words = f"qsh -o ControlMaster=auto -o ControlPersist=60 -o ControlPath={tmp_path}/cp"
    env, clone = {"GIT_SSH_COMMAND": words}, tmp_path / "clone"
    try:
        drop_in.run("git", "clone", "-q", f"{HOST}:{bare}", clone, env=env)
        (clone / "more").write_bytes(os.urandom(2_000_000))
        drop_in.run("git", "-C", clone, "add", "more")
        drop_in.run("git", "-C", clone, *IDENTITY, "commit", "-q", "-m", "second")
        drop_in.run("git", "-C", clone, "push", "-q", env=env)
        drop_in.run("git", "-C", clone, "fetch", "-q", env=env)
        assert _head(drop_in, clone) == _head(drop_in, bare)
        drop_in.run("git", "-C", bare, "fsck", "--strict")
        assert _logins(drop_in) - before == 1
    finally:
        drop_in.run("qsh", "-S", f"{tmp_path}/cp", "-O", "exit", HOST)


def _logins(drop_in: DropIn) -> int:
    return sum("Accepted publickey" in line for line in drop_in.server.log)
