"""scp, sftp, rsync and git over qsh, unmodified, against a real qshd: what they pass is what ssh would get."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.tool("scp", "sftp", "rsync", "git")]

LIMIT_S = 50
SIZE = 3_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), extra="AcceptEnv GIT_PROTOCOL")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def qsh(server: LiveServer) -> str:
    """A program that programs can call in place of ssh; it knows the configuration."""
    path = server.home / "bin-qsh"
    words = [sys.executable, "-m", "qsh.cli.client", "-F", f"{server.home}/config"]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Some files, one of them large, one with an awkward name."""
    folder = tmp_path / "from"
    (folder / "sub").mkdir(parents=True)
    (folder / "large").write_bytes(os.urandom(SIZE))
    (folder / "sub" / "a b'c").write_bytes(b"small")
    (folder / "sub" / "empty").write_bytes(b"")
    return folder


def run(server: LiveServer, *words: str, stdin: bytes = b"", **env: str) -> bytes:
    """Its output; it must succeed."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, timeout=LIMIT_S, check=False,
        env={**server.env, **env}, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stdout[-500:], done.stderr[-2000:])
    return done.stdout


def same(one: Path, other: Path) -> bool:
    """Both folders hold the same files."""
    done = subprocess.run(["diff", "-r", str(one), str(other)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    return True


@pytest.mark.parametrize("mode", [(), ("-O",)])
def test_scp_both_ways(
    server: LiveServer, qsh: str, tree: Path, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    scp = ["scp", "-S", qsh, "-P", str(server.port), "-q", "-r", "-p", *mode]
    run(server, *scp, str(tree), f"{server.target}:{tmp_path}/up")
    assert same(tree, tmp_path / "up")
    run(server, *scp, f"{server.target}:{tmp_path}/up", str(tmp_path / "down"))
    assert same(tree, tmp_path / "down")


def test_the_wrappers(server: LiveServer, tree: Path, tmp_path: Path) -> None:
    options = ("-F", f"{server.home}/config", "-P", str(server.port), "-q")
    beside = os.path.dirname(sys.executable)
    run(server, f"{beside}/qscp", *options, f"{tree}/large", f"{server.target}:{tmp_path}/up")
    get = f"get {tmp_path}/up {tmp_path}/down\n".encode()
    run(server, f"{beside}/qsftp", *options, "-b", "-", server.target, stdin=get)
    assert (tmp_path / "down").read_bytes() == (tree / "large").read_bytes()
    bare = subprocess.run(
        [f"{beside}/qscp", "a", "b"], capture_output=True, env={"PATH": "/none"}, check=False
    )
    assert bare.returncode == 255
    assert b"qscp: scp: No such file or directory" in bare.stderr


def test_scp_between_two_remote_places(
    server: LiveServer, qsh: str, tree: Path, tmp_path: Path
) -> None:
    place = f"scp://{server.target}:{server.port}/"
    words = ("scp", "-3", "-S", qsh, "-q", f"{place}{tree}/large", f"{place}{tmp_path}/copy")
    run(server, *words)
    assert (tmp_path / "copy").read_bytes() == (tree / "large").read_bytes()


def test_sftp_batch(server: LiveServer, qsh: str, tree: Path, tmp_path: Path) -> None:
    batch = f"put {tree}/large {tmp_path}/put\nget {tmp_path}/put {tmp_path}/got\nls -l {tmp_path}\nbye\n"
    words = ("sftp", "-S", qsh, "-q", "-P", str(server.port), "-b", "-", server.target)
    shown = run(server, *words, stdin=batch.encode())
    assert str(SIZE).encode() in shown
    assert (tmp_path / "got").read_bytes() == (tree / "large").read_bytes()
    failing = subprocess.run(
        words, input=b"get /no/such/file\n", capture_output=True, env=server.env, check=False
    )
    assert failing.returncode == 1


@pytest.mark.parametrize("extra", ["", " -4"])
def test_rsync_both_ways(
    server: LiveServer, qsh: str, tree: Path, tmp_path: Path, extra: str
) -> None:
    rsync = ("rsync", "-a", "-e", f"{qsh} -p {server.port}{extra}")
    run(server, *rsync, f"{tree}/", f"{server.target}:{tmp_path}/up/")
    assert same(tree, tmp_path / "up")
    (tmp_path / "up" / "large").write_bytes(b"other")
    run(server, *rsync, "--delete", f"{server.target}:{tmp_path}/up/", f"{tmp_path}/down/")
    assert same(tmp_path / "up", tmp_path / "down")


def git(server: LiveServer, folder: Path, *words: str, **env: str) -> bytes:
    who = {
        "AUTHOR_NAME": "a",
        "AUTHOR_EMAIL": "a@b",
        "COMMITTER_NAME": "a",
        "COMMITTER_EMAIL": "a@b",
    }
    names = {f"GIT_{name}": value for name, value in who.items()}
    return run(server, "git", "-C", str(folder), *words, **names, **env)


@pytest.mark.parametrize("how", ["GIT_SSH_COMMAND", "GIT_SSH"])
def test_git_clone_and_push(server: LiveServer, qsh: str, tmp_path: Path, how: str) -> None:
    """``ssh://host:port`` makes git ask with -G first whether this ssh can take a port."""
    git(server, tmp_path, "init", "-q", "--bare", "-b", "main", "bare.git")
    url = f"ssh://{server.target}:{server.port}{tmp_path}/bare.git"
    git(server, tmp_path, "clone", "-q", url, "work", **{how: qsh})
    work = tmp_path / "work"
    (work / "file").write_bytes(os.urandom(SIZE))
    git(server, work, "add", "file")
    git(server, work, "commit", "-q", "-m", "one")
    git(server, work, "push", "-q", "origin", "HEAD:main", **{how: qsh})
    git(server, tmp_path, "clone", "-q", "-b", "main", url, "again", **{how: qsh})
    assert (tmp_path / "again" / "file").read_bytes() == (work / "file").read_bytes()
