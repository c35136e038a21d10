"""Names and sockets of a user's terminals."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from qsh.server.account import Account
from qsh.server.session_directory import (
    Describe,
    SessionDirectory,
    directory_of,
    is_same_user,
    make_root_directory,
)


def test_names_are_the_smallest_free_numbers(tmp_path: Path) -> None:
    directory = SessionDirectory(str(tmp_path / "sessions"))
    assert directory.names() == []
    first, one = directory.claim()
    second, two = directory.claim()
    assert (first, second) == ("1", "2")
    assert directory.names() == ["1", "2"]
    directory.release("1")
    again, three = directory.claim()
    assert again == "1"
    for listener in (one, two, three):
        listener.close()


def test_a_name_whose_host_died_is_taken_over(tmp_path: Path) -> None:
    directory = SessionDirectory(str(tmp_path / "sessions"))
    _, dead = directory.claim()
    dead.close()
    name, listener = directory.claim()
    assert name == "1"
    peer = directory.connect("1")
    assert peer is not None
    peer.send(Describe())
    accepted, _ = listener.accept()
    assert is_same_user(accepted)
    assert accepted.recv(100)
    for sock in (peer, accepted, listener):
        sock.close()


def test_a_lock_that_is_not_given_back_is_not_waited_for_without_end(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir(mode=0o700)
    with (tmp_path / "sessions" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        directory = SessionDirectory(str(tmp_path / "sessions"), lock_s=0.05)
        with pytest.raises(TimeoutError, match=r"\.lock is held by another process"):
            directory.claim()
    name, listener = directory.claim()
    assert name == "1"
    listener.close()


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    """Nobody else gets into the directory, so what the modes of sockets are does not matter; the others' hold all the same."""
    before = os.umask(mask)
    try:
        for path in (
            str(tmp_path / "sessions"),
            make_root_directory(os.getuid(), os.getgid(), str(tmp_path / "r")),
        ):
            directory = SessionDirectory(path)
            _, listener = directory.claim()
            _, agent = directory.claim_agent()
            modes = {name: os.lstat(f"{path}/{name}").st_mode & 0o777 for name in os.listdir(path)}
            assert os.lstat(path).st_mode & 0o777 == 0o700
            assert modes.pop(".lock") == 0o600
            assert all(not mode & 0o077 for name, mode in modes.items() if name != "1")
            listener.close()
            agent.close()
    finally:
        os.umask(before)
    assert os.lstat(tmp_path / "r").st_mode & 0o777 == 0o711


@pytest.mark.parametrize("name", ["", "0", "../1", "1/../2", ".lock", "12345678", "x", "\u0661"])
def test_only_names_are_names(tmp_path: Path, name: str) -> None:
    directory = SessionDirectory(str(tmp_path / "sessions"))
    _, listener = directory.claim()
    assert directory.connect(name) is None
    listener.close()


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    directory = SessionDirectory(str(tmp_path / ("x" * 100) / "sessions"))
    name, listener = directory.claim()
    peer = directory.connect(name)
    assert peer is not None
    peer.close()
    listener.close()


def test_a_directory_that_others_may_enter_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    directory = SessionDirectory(str(path))
    with pytest.raises(PermissionError, match="not private"):
        directory.claim()
    assert directory.names() == []
    path.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    path.symlink_to(elsewhere)
    with pytest.raises(PermissionError, match="not private"):
        directory.claim()


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account("me", 1234, 1, (), str(tmp_path), "/bin/sh")
    assert directory_of(account, "/somewhere") == "/somewhere/1234"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    assert directory_of(account, "none") == str(tmp_path / ".local/state/qsh/sessions")
    (tmp_path / "run").mkdir()
    assert directory_of(account, "none") == str(tmp_path / "run/qshd-sessions")


def test_roots_parent_lets_users_through_and_no_more(tmp_path: Path) -> None:
    parent = str(tmp_path / "qshd" / "sessions")
    made = make_root_directory(os.getuid(), os.getgid(), parent)
    assert Path(made).name == str(os.getuid())
    assert Path(parent).stat().st_mode & 0o777 == 0o711
    assert Path(made).stat().st_mode & 0o777 == 0o700
    assert make_root_directory(os.getuid(), os.getgid(), parent) == made
    Path(parent).chmod(0o777)
    with pytest.raises(PermissionError, match="not safe"):
        make_root_directory(os.getuid(), os.getgid(), parent)


def test_a_socket_is_of_its_user() -> None:
    ours, theirs = socket.socketpair()
    assert is_same_user(ours)
    ours.close()
    theirs.close()
