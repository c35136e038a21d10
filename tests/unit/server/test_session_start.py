"""The way from a fork to a session host."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from qsh.config import daemon_parser
from qsh.server import session_start as module
from qsh.server.account import Account
from qsh.server.log import Log
from qsh.server.requests import Grant
from qsh.server.session_rules import SessionRules
from qsh.server.session_start import SessionStart

if TYPE_CHECKING:
    import pytest


def test_a_session_directory_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_only(*_: object) -> NoReturn:
        raise OSError(30, "Read-only file system", "/run/qshd")

    said: list[str] = []
    log = Log()
    monkeypatch.setattr(module.session_directory, "make_root_directory", read_only)
    monkeypatch.setattr(log, "error", said.append)
    options = daemon_parser.parse("", "config", lambda pattern: []).options
    someone = Account("anna", 1, 1, (1,), "/", "/bin/sh")
    grant = Grant(someone, None, None, ("192.0.2.1", 1), ("192.0.2.2", 22))
    path = SessionStart(options, None, log)._session_directory(SessionRules(grant, options))
    assert said == [f"session directory {path}: Read-only file system"]
