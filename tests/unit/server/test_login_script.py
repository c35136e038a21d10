"""Which script runs before a program, with what (session.c: do_rc_files)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qsh.auth.key_options import KeyOptions
from qsh.config.daemon_options import DaemonOptions
from qsh.server import login_script as module
from qsh.server.account import Account
from qsh.server.login_script import before_program
from qsh.server.requests import Grant, OpenChannel
from qsh.server.session_rules import SessionRules
from qsh.server.x11_display import XauthEntry

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = XauthEntry("unix:10", "MIT-MAGIC-COOKIE-1", "00ff")
SHELL = OpenChannel(4, "shell")
EXEC = OpenChannel(4, "exec", b"date")
SUBSYSTEM = OpenChannel(4, "subsystem", b"sftp")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that a shell must quote; the system's script and xauth write a word, too."""
    home = tmp_path / "o'brien's home"
    (home / ".ssh").mkdir(parents=True)
    for name in ("system", "xauth"):
        (tmp_path / name).write_text(f"#!/bin/sh\n(echo {name}; cat) > {tmp_path}/ran\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(module, "SYSTEM_SCRIPT", str(tmp_path / "no-system"))
    return home


def run(home: Path, *, user: bool, entry: XauthEntry | None) -> str:
    someone = Account("anna", os.getuid(), os.getgid(), (), str(home), "/bin/sh")
    prepare = before_program(someone, entry, str(home.parent / "xauth"), user_script=user)
    if prepare is None:
        return ""
    prepare({"PATH": "/usr/bin:/bin", "A": "b"})
    return (home.parent / "ran").read_text()


def write_own(home: Path) -> None:
    (home / ".ssh/rc").write_text(f"(echo own $A; cat) > {home.parent}/ran; exit 3\n")


@pytest.mark.parametrize("entry", [None, ENTRY])
def test_the_users_own_goes_first(
    home: Path, monkeypatch: pytest.MonkeyPatch, entry: XauthEntry | None
) -> None:
    write_own(home)
    monkeypatch.setattr(module, "SYSTEM_SCRIPT", str(home.parent / "system"))
    told = "MIT-MAGIC-COOKIE-1 00ff\n" if entry else ""
    assert run(home, user=True, entry=entry) == f"own b\n{told}"
    assert run(home, user=False, entry=entry) == f"system\n{told}"
    (home / ".ssh/rc").unlink()
    assert run(home, user=True, entry=entry) == f"system\n{told}"


def test_xauth_runs_where_no_script_does(home: Path) -> None:
    assert run(home, user=True, entry=ENTRY).startswith("xauth\nremove unix:10\nadd unix:10 MIT")
    assert run(home, user=True, entry=None) == ""


def test_a_shell_that_is_not_there(home: Path) -> None:
    write_own(home)
    someone = Account("anna", 1, 1, (), str(home), "/no/such/shell")
    prepare = before_program(someone, None, "/x", user_script=True)
    assert prepare is not None
    prepare({})
    assert not (home.parent / "ran").exists()


@pytest.mark.parametrize(
    ("request_", "options", "key", "runs"),
    [
        (SHELL, {}, KeyOptions(), True),
        (EXEC, {}, KeyOptions(), True),
        (SUBSYSTEM, {}, KeyOptions(), False),
        (SHELL, {"permit_user_rc": False}, KeyOptions(), False),
        (SHELL, {"force_command": "x"}, KeyOptions(), False),
        (SHELL, {}, KeyOptions(command="x"), True),
        (SHELL, {}, KeyOptions(user_rc=False), False),
    ],
)
def test_whose_script_runs(
    request_: OpenChannel, options: dict[str, object], key: KeyOptions, runs: bool
) -> None:
    someone = Account("anna", 1, 1, (), "/", "/bin/sh")
    grant = Grant(someone, DaemonOptions(**options), key, ("::1", 1), ("::1", 2))  # type: ignore[arg-type]
    assert SessionRules(grant, DaemonOptions()).runs_user_script(request_) is runs
